//! What may be listened on, and what others are told.

use std::net::IpAddr;
use std::path::PathBuf;

use super::{ConfigError, Listen, Values};

pub(super) fn listen(
    values: &Values,
    unix: Option<PathBuf>,
    warnings: &mut Vec<String>,
) -> Result<Listen, ConfigError> {
    let insecure = values.parse("listen.insecure", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write true or false"),
    })?;
    let mut advertised = <[String; 3]>::default();
    for (key, told) in ["listen.rpc", "listen.data", "listen.http"].into_iter().zip(&mut advertised) {
        let (host, port) = values.parse(key, split)?;
        if !loopback(host) {
            let what = format!("{host} is not loopback, and whoever reaches it can read and change everything");
            if !insecure {
                let hint = "listen on 127.0.0.1; or, in a network that you trust, set listen.insecure = true";
                return Err(values.wrong(key, &what, hint));
            }
            warnings.push(format!("{key}: {what} (listen.insecure allows it)"));
        }
        *told = format!("{}:{port}", public_host(values, key, host)?);
    }
    let [rpc, data, http] = &advertised;
    if rpc == data || rpc == http || data == http {
        let hint = "give each of listen.rpc, listen.data and listen.http a port of its own";
        return Err(values.wrong("listen.data", "two of the addresses are the same", hint));
    }
    let bound = |key: &str| values.text(key).map(str::to_owned);
    let (rpc, data, http) = (bound("listen.rpc")?, bound("listen.data")?, bound("listen.http")?);
    Ok(Listen { rpc, data, http, unix, advertised })
}

fn split(address: &str) -> Result<(&str, u16), &'static str> {
    let form = "write HOST:PORT, with a port from 1 to 65535";
    let (host, port) = address.rsplit_once(':').ok_or(form)?;
    match port.parse() {
        Ok(0) => Err("choose a port from 1 to 65535: others must know it"),
        Ok(port) => Ok((named(host)?, port)),
        Err(_) => Err(form),
    }
}

/// A host's name, or an address.
fn named(host: &str) -> Result<&str, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if ip(host).is_some() || !host.is_empty() && host.bytes().all(plain) {
        return Ok(host);
    }
    Err("the host is a name such as db1.example.com, or an address such as 10.0.0.7 or [::1]")
}

/// Another name than `localhost` may stand for anything.
fn loopback(host: &str) -> bool {
    host == "localhost" || ip(host).is_some_and(|ip| ip.is_loopback())
}

fn public_host<'a>(values: &'a Values, key: &str, host: &'a str) -> Result<&'a str, ConfigError> {
    let unspecified = |host| ip(host).is_some_and(|ip| ip.is_unspecified());
    let hint = "set node.advertise to the host name or address under which others reach this node";
    match values.text("node.advertise")? {
        "" if unspecified(host) => Err(values.wrong(key, &format!("{host} is no address that others can use"), hint)),
        "" => Ok(host),
        told if unspecified(told) => Err(values.wrong("node.advertise", "is no address that others can use", hint)),
        _ => values.parse("node.advertise", |told| named(told).map_err(|form| format!("{form}; without a port"))),
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}
