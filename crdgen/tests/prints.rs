//! What the program prints is what the chart carries.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn crdgen(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crdgen")).args(arguments).output().expect("it was built")
}

#[test]
fn all_go_to_standard_output_or_each_into_a_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("definitions");
    fs::create_dir_all(&folder).expect("a folder can be made");
    assert!(crdgen(&[&folder]).status.success());
    let printed = String::from_utf8(crdgen(&[]).stdout).expect("YAML is text");
    let carried = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../helm/crds")).expect("the chart is there");
    let mut count = 0;
    for path in carried.map(|entry| entry.expect("it can be read").path()) {
        let text = fs::read_to_string(&path).expect("it is text");
        let name = path.file_name().expect("it is a file");
        assert!(printed.contains(&text), "{} is not printed", path.display());
        assert!(fs::read_to_string(folder.join(name)).is_ok_and(|written| written == text), "{}", path.display());
        count += 1;
    }
    assert_eq!((count, printed.matches("\n---\n").count() + 1), (4, 4));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let ended = crdgen(&[Path::new("/nowhere/definitions")]);
    assert_eq!(ended.status.code(), Some(1));
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.starts_with("Error: cannot write /nowhere/definitions/"), "{told}");
}
