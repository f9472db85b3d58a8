use super::*;

const MINIMAL: &str = "[node]\nname = \"n1\"\ndir = \"data\"\n";

fn parse(text: &str, flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let flags: Vec<String> = flags.iter().map(|&f| f.into()).collect();
    let variables = variables.iter().map(|&(k, v)| (k.into(), v.into()));
    Config::parse(text, Path::new("/etc/cairn/c.toml"), &flags, variables)
}

#[test]
fn a_name_and_a_folder_are_enough() {
    let config = parse(MINIMAL, &[], &[]).unwrap();
    assert_eq!(config.dir, Path::new("/etc/cairn/data"));
    assert_eq!((config.role, config.zone.as_str()), (Role::Executor, "n1"));
    assert_eq!(config.listen.advertised, ["127.0.0.1:7420", "127.0.0.1:7421", "127.0.0.1:7422"]);
    assert_eq!(config.listen.unix.as_deref(), Some(Path::new("/etc/cairn/data/cairnd.sock")));
    assert_eq!((config.raft, config.limits), (RaftTimes::default(), Limits::default()), "the texts of `keys` agree");
    assert!(config.warnings.is_empty());
}

#[test]
fn a_flag_counts_before_a_variable_before_the_file_before_the_default() {
    let text = format!("{MINIMAL}[log]\nlevel = \"warn\"\n");
    let level = |flags, variables| {
        let config = parse(&text, flags, variables).unwrap();
        (config.log.level, config.values.get("log.level").unwrap().origin.clone())
    };
    assert_eq!(level(&[], &[]), ("warn".into(), Origin::File));
    let variable = [("CAIRN_LOG_LEVEL", "error")];
    assert_eq!(level(&[], &variable), ("error".into(), Origin::Variable("CAIRN_LOG_LEVEL".into())));
    assert_eq!(level(&["log.level=debug"], &variable), ("debug".into(), Origin::Flag));
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    for (text, key, nearest) in [
        ("[node]\nnmae = \"x\"\n", "node.nmae", "node.name"),
        ("[raft]\nheart_beat = \"1s\"\n", "raft.heart_beat", "raft.heartbeat"),
        ("[listen]\nRPC = \"x\"\n", "listen.RPC", "listen.rpc"),
        ("capacty = 5\n", "capacty", "node.capacity"),
    ] {
        let error = parse(text, &[], &[]).unwrap_err();
        assert!(error.message.contains("/etc/cairn/c.toml") && error.message.contains(key), "{error:?}");
        assert!(error.hint.contains(&format!("nearest is {nearest};")), "{error:?}");
    }
    let error = parse(MINIMAL, &["log.levle=x"], &[]).unwrap_err();
    assert!(error.hint.contains("log.level"), "{error:?}");
}

#[test]
fn an_unknown_variable_is_only_warned_of_and_only_in_our_sections() {
    let variables = [("CAIRN_NODE_ZNE", "z"), ("CAIRN_ENDPOINTS", "x"), ("CAIRN_EPOCH", "3"), ("CAIRN_LOG", "off")];
    let config = parse(MINIMAL, &[], &variables).unwrap();
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("CAIRN_NODE_ZONE"));
}

#[test]
fn other_addresses_than_loopback_need_a_word() {
    let open = |more: &str| {
        parse(&format!("{MINIMAL}advertise = \"db1\"\n[listen]\nrpc = \"0.0.0.0:7420\"\n{more}"), &[], &[])
    };
    let error = open("").unwrap_err();
    assert!(error.message.contains("listen.rpc") && error.hint.contains("listen.insecure"), "{error:?}");
    let config = open("insecure = true\n").unwrap();
    assert_eq!(config.listen.advertised[0], "db1:7420");
    assert!(config.warnings[0].contains("not loopback"));
    // A name may stand for anything, and nobody can dial 0.0.0.0.
    assert!(parse(&format!("{MINIMAL}[listen]\ndata = \"db1:7421\"\n"), &[], &[]).is_err());
    let nowhere = format!("{MINIMAL}[listen]\ninsecure = true\nrpc = \"0.0.0.0:7420\"\n");
    assert!(parse(&nowhere, &[], &[]).unwrap_err().hint.contains("node.advertise"));
}

#[test]
fn values_that_make_no_sense_are_refused_where_they_stand() {
    for (section, line) in [
        ("node", "role = \"boss\""),
        ("node", "capacity = \"much\""),
        ("node", "zone = [1]"),
        ("listen", "rpc = \"localhost\""),
        ("listen", "data = \"127.0.0.1:0\""),
        ("listen", "data = \"127.0.0.1:7420\""),
        ("listen", "insecure = \"yes\""),
        ("log", "level = \"=loud\""),
        ("log", "level = \"verbose\""),
        ("log", "level = \"\""),
        ("log", "level = \"info,cairn_node\""),
        ("log", "level = \"cairn_node=loud\""),
        ("listen", "rpc = \"127.0.0.1:65536\""),
        ("listen", "rpc = \"127.0.0.1:-1\""),
        ("listen", "http = \":7422\""),
        ("listen", "rpc = \"http://127.0.0.1:7420\""),
        ("node", "advertise = \"db1:7420\""),
        ("node", "advertise = \"0.0.0.0\""),
        ("log", "format = \"xml\""),
        ("raft", "heartbeat = \"5\""),
        ("raft", "heartbeat = \"400ms\""),
        ("raft", "election_max = \"600ms\""),
        ("raft", "snapshot_every = 0"),
        ("limits", "transfers = -1"),
        ("limits", "idle = \"0s\""),
    ] {
        let text = match section {
            "node" => format!("{MINIMAL}{line}\n"),
            _ => format!("{MINIMAL}[{section}]\n{line}\n"),
        };
        let error = parse(&text, &[], &[]).expect_err(line);
        let line = if section == "node" { 4 } else { 5 };
        let places = [format!("/etc/cairn/c.toml:{line}: "), "/etc/cairn/c.toml: raft.election_min".into()];
        assert!(places.iter().any(|place| error.message.starts_with(place)), "{error:?}");
        assert!(error.message.contains(&format!("{section}.")) && !error.hint.is_empty(), "{error:?}");
    }
    let error = parse("[node]\nname = n1\n", &[], &[]).unwrap_err();
    assert!(error.message.starts_with("/etc/cairn/c.toml:2 is not TOML"), "{error:?}");
    let error = parse("[node]\n\nnmae = \"n1\"\n", &[], &[]).unwrap_err();
    assert!(error.message.starts_with("/etc/cairn/c.toml:3: "), "{error:?}");
}

#[test]
fn each_transfer_of_a_repair_has_its_least_rate() {
    let limits = |flags: &[&str]| parse(MINIMAL, flags, &[]).map(|config| config.limits);
    assert_eq!(limits(&["repair.rate=4MiB", "repair.transfers=4"]).unwrap().repair_payload().rate_max, 1 << 20);
    let error = limits(&["repair.rate=4MiB", "repair.transfers=5"]).unwrap_err();
    assert!(error.message.contains("repair.rate") && error.hint.contains("5242880"), "{error:?}");
    for zero in ["repair.rate=0", "repair.scrub_rate=0", "repair.transfers=0"] {
        assert!(limits(&[zero]).is_err(), "{zero}");
    }
    assert!(limits(&["repair.scrub_every=366d"]).is_ok() && limits(&["repair.scrub_every=367d"]).is_err());
}

#[test]
fn a_level_is_a_word_and_directives_are_more() {
    for level in ["off", "WARN", "trace", "info,cairn_node=debug", "cairn_node=debug", "warn,cairn_node[save]=trace"]
    {
        let config = parse(MINIMAL, &[&format!("log.level={level}")], &[]).expect(level);
        assert_eq!(config.log.level, level);
    }
    // A machine of a million states.
    let pattern = format!("log.level=info,cairn_node[save{{name=(a|b)*a{}}}]=debug", "(a|b)".repeat(24));
    for level in [pattern.as_str(), "log.level=\tӒ=", "log.level=info,naïve=debug"] {
        let error = parse(MINIMAL, &[level], &[]).unwrap_err();
        assert!(error.hint.contains("by their plain names"), "{error:?}");
    }
    let error = parse(MINIMAL, &["log.level=verbose"], &[]).unwrap_err();
    assert!(error.message.contains("--set: log.level") && error.hint.contains("debug"), "{error:?}");
}

#[test]
fn what_must_be_set_is_named() {
    let error = parse("[node]\nname = \"n1\"\n", &[], &[]).unwrap_err();
    assert!(error.message.contains("node.dir") && error.hint.contains("CAIRN_NODE_DIR"), "{error:?}");
}

#[test]
fn a_default_socket_with_too_long_a_path_is_left_out() {
    let long = "x".repeat(120);
    let config = parse(MINIMAL, &[&format!("node.dir={long}")], &[]).unwrap();
    assert_eq!((config.listen.unix, config.warnings.len()), (None, 1));
    assert!(parse(MINIMAL, &[&format!("listen.unix={long}")], &[]).is_err());
    assert_eq!(parse(MINIMAL, &["listen.unix="], &[]).unwrap().listen.unix, None);
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let config = Config::parse(EXAMPLE, Path::new("/etc/cairn/c.toml"), &[], []).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // The same with every line that is commented out.
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let all = EXAMPLE.lines().map(uncommented).collect::<Vec<_>>().join("\n");
    let values = Config::parse(&all, Path::new("/etc/cairn/c.toml"), &[], []).unwrap().values;
    for key in KEYS {
        let value = values.get(key.name).unwrap();
        assert_eq!(value.origin, Origin::File, "{} is missing", key.name);
        if let Some(default) = key.default.filter(|text| !text.is_empty()) {
            assert_eq!(value.text, default, "{}", key.name);
        }
    }
}
