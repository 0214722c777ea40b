//! The rows of tokens: who bears one and what it allows, never its secret.

use super::batch::{Batch, Table};
use super::records;
use super::typed::Store;
use crate::error::Result;
use crate::model::{TokenId, TokenRecord};

impl Batch {
    /// Keeps what is known of a token; its secret is not among it.
    pub fn put_token(&mut self, record: &TokenRecord) {
        let row = records::encode(&record.id.0, record);
        self.put(Table::Tokens, record.id.0.to_vec(), row);
    }

    /// Forgets a token that ended long ago.
    pub fn remove_token(&mut self, id: TokenId) {
        self.remove(Table::Tokens, id.0.to_vec());
    }
}

impl Store {
    /// Every token, and how many rows are damaged. A token whose row is damaged is unknown, and so refused.
    pub fn tokens(&self) -> Result<(Vec<TokenRecord>, u64)> {
        let (mut found, mut damaged) = (Vec::new(), 0);
        self.rows.scan(Table::Tokens, &[], &mut |key, row| {
            match records::decode(Table::Tokens, key, row.to_vec()) {
                Ok(record) => found.push(record),
                Err(_) => damaged += 1,
            }
            Ok(true)
        })?;
        Ok((found, damaged))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::batch::Op;
    use super::super::{Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn tokens_are_kept_until_removed_and_a_damaged_one_is_counted() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        let token = |byte: u8| TokenRecord {
            id: TokenId([byte; 8]),
            subject: "ada".into(),
            groups: vec!["lab".into()],
            scopes: vec!["read:meteo".parse().unwrap()],
            hash: [7; 32],
            root: false,
            created_ms: 1,
            expires_ms: Some(2),
            revoked_ms: None,
        };
        let mut batch = Batch::new();
        batch.put_token(&token(1));
        batch.put_token(&token(2));
        batch.put_token(&token(3));
        store.commit(&batch).unwrap();
        let mut batch = Batch::new();
        batch.remove_token(TokenId([2; 8]));
        store.commit(&batch).unwrap();
        store.commit_raw(Op::Put(Table::Tokens, vec![3; 8], vec![0; 40])).unwrap();
        assert_eq!(store.tokens().unwrap(), (vec![token(1)], 1));
    }
}
