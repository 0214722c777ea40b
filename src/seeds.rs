//! The seeds of the fuzz targets, each once: what held when a seed was written holds still. `make fuzz` looks further.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod properties;

#[test]
fn every_seed_keeps_the_properties_of_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, check) in properties::TARGETS {
        let seeds: Vec<_> = fs::read_dir(fuzz.join("corpus").join(name)).unwrap().map(|seed| seed.unwrap()).collect();
        assert!(seeds.len() > 2, "{name} has too few seeds");
        for seed in seeds {
            println!("{}", seed.path().display());
            check(&fs::read(seed.path()).unwrap());
        }
        assert!(fuzz.join("targets").join(format!("{name}.rs")).is_file());
    }
}
