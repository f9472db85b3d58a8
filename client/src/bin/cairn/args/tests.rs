use super::*;

fn parsed(words: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(words.split(' '))
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn global_options_are_valid_before_and_after_the_command() {
    for line in [
        "cairn -o json --endpoint a:1,unix:/b --timeout 5s ls",
        "cairn ls -o json --endpoint a:1,unix:/b --timeout 5s",
        "cairn --timeout 5s node ls --endpoint a:1,unix:/b --output=json",
        "cairn cluster --output json status --endpoint a:1,unix:/b --timeout 5s",
    ] {
        let args = parsed(line).unwrap();
        assert_eq!(args.globals.output, Format::Json, "{line}");
        assert_eq!(args.globals.endpoints(), ["a:1", "unix:/b"], "{line}");
        assert_eq!(args.globals.timeout, Some(Duration::from_secs(5)), "{line}");
    }
}

#[test]
fn an_empty_endpoint_is_said_to_be_none() {
    for line in ["cairn --endpoint= ls", "cairn ls --endpoint=a:1,", "cairn --endpoint=, ls"] {
        let report = Report::usage(&parsed(line).unwrap_err());
        assert!(report.exit == 2 && report.message.contains("an endpoint is HOST:PORT or unix:PATH"), "{report:?}");
    }
}

#[test]
fn a_number_below_zero_is_a_value_and_a_wrong_one() {
    for line in ["cairn save a f --replicas -1", "cairn save a f --keep -2", "cairn pin a --version -1"] {
        let report = Report::usage(&parsed(line).unwrap_err());
        let text = format!("{} {}", report.message, report.hint.unwrap_or_default());
        assert!(text.contains("invalid value '-") && !text.contains("as a value"), "{text}");
    }
}

#[test]
fn a_save_has_the_defaults_of_the_contract() {
    let Command::Save(save) = parsed("cairn save db/main f").unwrap().command else { panic!("not a save") };
    assert_eq!((save.copies.replicas, save.copies.keep, save.copies.ack), (2, 2, AckArg::All));
    assert_eq!((save.if_version, save.request_id, save.take), (None, None, false));
}

#[test]
fn a_save_takes_all_its_options() {
    let line =
        "cairn save a f --replicas 0 --ack quorum --keep 1 --if-version 0 --epoch 7 --label a=b=c --label d= --move";
    let Command::Save(save) = parsed(line).unwrap().command else { panic!("not a save") };
    assert_eq!((save.if_version, save.epoch, save.take), (Some(Version::NONE), Some(Epoch(7)), true));
    assert_eq!(save.labels(), BTreeMap::from([("a".into(), "b=c".into()), ("d".into(), String::new())]));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "cairn save ../x f",
        "cairn save a f --replicas 17",
        "cairn save a f --keep 0",
        "cairn save a f --ack both",
        "cairn save a f --archive sometimes",
        "cairn save a f --archive every:0",
        "cairn load a --from n1",
        "cairn load a --from global --stale",
        "cairn save a f --durability memory",
        "cairn save a f --label x",
        "cairn save a",
        "cairn load a --range 1:2",
        "cairn load a --out f --range 18446744073709551615:1",
        "cairn load a --force",
        "cairn load a --stale --claim",
        "cairn load a --lease 5s",
        "cairn release a",
        "cairn pin a",
        "cairn pin a --version x",
    ] {
        assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn the_format_is_found_in_words_that_do_not_parse() {
    for line in ["cairn nope -o json", "cairn --output=json nope", "cairn nope -ojson", "cairn -o=json nope"] {
        assert_eq!(format_of(&words(line)), Format::Json, "{line}");
    }
    assert_eq!(format_of(&words("cairn save -- -o json")), Format::Table);
}

#[test]
fn the_usage_is_that_of_the_command_that_was_meant() {
    for (line, usage) in [
        ("cairn save --epoch 1 a", "Usage: cairn save [OPTIONS] <NAME> <FILE|DIR|->"),
        ("cairn --endpoint a:1 node ls --state x", "Usage: cairn node ls [OPTIONS]"),
        ("cairn frobnicate", "Usage: cairn [OPTIONS] <COMMAND>"),
    ] {
        assert_eq!(usage_of(&words(line)).to_string(), usage, "{line}");
    }
}

#[test]
fn a_usage_error_names_the_word() {
    let report = Report::usage(&parsed("cairn save ../x f").unwrap_err());
    assert_eq!((report.code.as_str(), report.exit), ("invalid", 2));
    assert!(report.message.contains("../x") && !report.message.contains('\n'), "{}", report.message);
}
