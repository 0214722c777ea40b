//! Whatever a reader is given, in whatever pieces: the same parts, or an error, and never a panic.

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

type Parts = Vec<(Part, Vec<u8>)>;

/// Reads a body in pieces of these sizes, over and over.
fn read(body: &[u8], sizes: &[usize]) -> Result<Parts> {
    let mut reader = Reader::new("b");
    let mut parts: Parts = Vec::new();
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    loop {
        match reader.step()? {
            Step::More if rest.is_empty() => return reader.finish().map(|()| parts),
            Step::More => {
                let (piece, behind) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
                reader.feed(piece);
                rest = behind;
                assert!(reader.buffer.len() <= piece.len() + BATCH_HEAD_BYTES_MAX + 80, "it holds one head");
            }
            Step::Part(part) => parts.push((part, Vec::new())),
            Step::Body(bytes) => parts.last_mut().unwrap().1.extend_from_slice(&bytes),
            Step::PartEnd => assert_eq!(parts.last().unwrap().1.len() as u64, parts.last().unwrap().0.length),
            Step::End => {}
        }
    }
}

fn written(bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        open_part(&mut out, "b", n == 0, Some(&format!("<{n}>")));
        out.extend_from_slice(
            format!("PUT /v1/objects/c/{n} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        );
        out.extend_from_slice(body);
    }
    close(&mut out, "b");
    out
}

fn refused(body: &str) -> Kind {
    let whole = read(body.as_bytes(), &[usize::MAX]).expect_err(body).kind();
    assert_eq!(read(body.as_bytes(), &[1]).expect_err(body).kind(), whole, "in pieces it is the same: {body}");
    whole
}

const PART: &str = "--b\r\nContent-Type: application/http\r\n\r\n";

#[test]
fn a_body_may_hold_what_looks_like_a_boundary() {
    let body = b"\r\n--b--\r\n--b\r\nContent-Type: application/http\r\n\r\n".to_vec();
    let parts = read(&written(&[body.clone(), Vec::new()]), &[3]).unwrap();
    assert_eq!(parts[0].1, body);
    assert_eq!((parts.len(), parts[1].0.content_id.as_deref()), (2, Some("<1>")));
}

#[test]
fn one_line_end_may_follow_the_end_in_any_pieces() {
    let body = written(&[b"x".to_vec()]);
    let bare = &body[..body.len() - 2];
    for sizes in [&[1][..], &[body.len() - 1], &[body.len()], &[usize::MAX]] {
        assert!(read(bare, sizes).is_ok() && read(&body, sizes).is_ok(), "{sizes:?}");
        for more in ["\r\n", "\r", "x"] {
            assert!(read(&[&body[..], more.as_bytes()].concat(), sizes).is_err(), "{sizes:?} {more:?}");
        }
        assert!(read(&body[..body.len() - 1], sizes).is_err(), "{sizes:?}: half a line end");
    }
}

#[test]
fn what_is_not_a_batch_is_refused() {
    for (body, kind) in [
        ("".to_owned(), Kind::Invalid),
        ("--c\r\n".to_owned(), Kind::Invalid),
        ("preamble\r\n--b\r\n".to_owned(), Kind::Invalid),
        ("--b\n".to_owned(), Kind::Invalid),
        ("--b \r\n".to_owned(), Kind::Invalid),
        // Truncated at each place.
        ("--b".to_owned(), Kind::Invalid),
        (PART.to_owned(), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\n"), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"), Kind::Invalid),
        (format!("{PART}GET /x HTTP/1.1\r\n\r\n\r\n--b"), Kind::Invalid),
        (format!("{PART}GET /x HTTP/1.1\r\n\r\n"), Kind::Invalid),
        // Lengths that lie.
        (format!("{PART}PUT /x HTTP/1.1\r\nContent-Length: 2\r\n\r\nabc\r\n--b--"), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc\r\n--b--"), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\n\r\nabc\r\n--b--"), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc\r\n--b--"), Kind::Invalid),
        (format!("{PART}PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n--b--"), Kind::Invalid),
        (
            "--b\r\nContent-Type: application/http\r\nContent-Length: 3\r\n\r\nGET /x HTTP/1.1\r\n\r\n\r\n--b--"
                .to_owned(),
            Kind::Invalid,
        ),
        // Parts of another kind.
        ("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n".to_owned(), Kind::Invalid),
        ("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n\r\n".to_owned(), Kind::Invalid),
        ("--b\r\n\r\nGET /x HTTP/1.1\r\n\r\n".to_owned(), Kind::Invalid),
        (
            "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n\r\n".to_owned(),
            Kind::Invalid,
        ),
        // Bad and huge heads.
        (format!("{PART}GET /x HTTP/1.1\r\nno colon\r\n\r\n"), Kind::Invalid),
        (format!("{PART}GET /x HTTP/1.1\r\na: b\r\n folded\r\n\r\n"), Kind::Invalid),
        (format!("{PART}GET /x HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(BATCH_HEAD_BYTES_MAX)), Kind::TooLarge),
        (format!("--b\r\na: {}", "x".repeat(BATCH_HEAD_BYTES_MAX)), Kind::TooLarge),
        (format!("{PART}GET /x HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(97)), Kind::TooLarge),
        // Something behind the end.
        (format!("{PART}GET /x HTTP/1.1\r\n\r\n\r\n--b--\r\nmore"), Kind::Invalid),
        (format!("{PART}GET /x HTTP/1.1\r\n\r\n\r\n--b--x"), Kind::Invalid),
    ] {
        assert_eq!(refused(&body), kind, "{body}");
    }
    let many = written(&vec![Vec::new(); BATCH_PARTS_MAX + 1]);
    assert_eq!(read(&many, &[4096]).unwrap_err().kind(), Kind::TooLarge);
    assert_eq!(read(&written(&vec![Vec::new(); BATCH_PARTS_MAX]), &[4096]).unwrap().len(), BATCH_PARTS_MAX);
}

#[test]
fn boundaries_are_found_in_content_types() {
    for (text, boundary) in [
        ("multipart/mixed; boundary=abc", "abc"),
        ("Multipart/Mixed;charset=utf-8;Boundary=\"a b:c\"", "a b:c"),
        ("multipart/mixed; boundary=\"x\"; charset=utf-8", "x"),
    ] {
        assert_eq!(boundary_of(text).unwrap(), boundary);
    }
    let long = format!("multipart/mixed; boundary={}", "x".repeat(71));
    for bad in [
        "",
        "multipart/mixed",
        "multipart/mixed; boundary=",
        "multipart/mixed; boundary=\"\"",
        "multipart/mixed; boundary=\"a",
        "multipart/mixed; boundary=\"a\"b",
        "multipart/mixed; boundary=a; boundary=b",
        "multipart/mixed; boundary=a\\b",
        "multipart/mixed; boundary=\"a \"",
        "multipart/mixed; charset",
        "multipart/form-data; boundary=a",
        long.as_str(),
    ] {
        assert!(boundary_of(bad).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_in_any_pieces(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        sizes in prop::collection::vec(1usize..200, 1..20),
    ) {
        let parts = read(&written(&bodies), &sizes).unwrap();
        let read: Vec<Vec<u8>> = parts.into_iter().map(|(_, body)| body).collect();
        prop_assert_eq!(read, bodies);
    }

    #[test]
    fn a_damaged_batch_is_an_error_or_another_batch_and_never_a_panic(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
        sizes in prop::collection::vec(1usize..80, 1..6),
    ) {
        let mut text = written(&bodies);
        for (at, byte, what) in damage {
            let at = at.index(text.len());
            match what {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                2 => { text.truncate(at.max(1)); }
                _ => { let copy = text[at..].to_vec(); text.extend(copy); }
            }
        }
        let pieces = read(&text, &sizes).map_err(|error| error.kind());
        let whole = read(&text, &[usize::MAX]).map_err(|error| error.kind());
        prop_assert_eq!(pieces.is_ok(), whole.is_ok());
        if let (Ok(pieces), Ok(whole)) = (pieces, whole) {
            prop_assert_eq!(pieces, whole);
        }
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..2000), sizes in prop::collection::vec(1usize..200, 1..6)) {
        let _ = read(&bytes, &sizes);
        let _ = read(&[PART.as_bytes(), &bytes].concat(), &sizes);
        let _ = read(&[PART.as_bytes(), b"PUT /x HTTP/1.1\r\n", &bytes].concat(), &sizes);
    }
}
