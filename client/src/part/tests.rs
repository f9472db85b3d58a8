use std::fs;
use std::path::Path;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn what_killed_processes_left_goes_and_what_is_being_written_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let live = Part::create(&at("live")).unwrap();
    let filling = PartFolder::create(&at("filling")).unwrap();
    // As a process that is killed leaves them.
    let id = Uuid::now_v7().simple().to_string();
    fs::write(at(&format!(".cairn-{id}.part")), "half").unwrap();
    let id = Uuid::now_v7().simple().to_string();
    fs::create_dir_all(at(&format!(".cairn-{id}.part/inner"))).unwrap();
    fs::write(at(&format!(".cairn-{id}.part/inner/half")), "half").unwrap();
    // Names that we never gave.
    let others = [".cairn-x.part", ".cairn-notes", "state.part"];
    others.iter().for_each(|name| fs::write(at(name), "mine").unwrap());

    let new = Part::create(&at("new")).unwrap();
    let mut expected: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
    for path in [&live.path, &new.path, &filling.path().to_owned()] {
        expected.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    expected.sort();
    assert_eq!(names(dir.path()), expected);

    live.publish(false).unwrap();
    let folder = filling.open().unwrap();
    filling.publish(&folder, false).unwrap();
    drop(new);
    assert_eq!(names(dir.path()), [".cairn-notes", ".cairn-x.part", "filling", "live", "state.part"]);
}
