//! The interface as a whole: that it is what its document says, and that no body breaks it.

use std::sync::Arc;

use crate::common::{Pair, refusal};
use postern_protocol::Seq;
use postern_protocol::uplink::{MAX_BODY, RefusalCode, Watermark};
use postern_server::{serve, site};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A path of the document with something in the place of each name.
fn filled(path: &str) -> String {
    path.replace("{group}", "main")
        .replace("{journal}", "07070707-0707-0707-0707-070707070707")
        .replace("{controller}", "uhppote-1")
}

#[tokio::test]
async fn every_path_of_the_document_is_there_with_its_methods_and_no_other() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let (at, operator) = (pair.address("a"), pair.operator());
    let document: serde_json::Value =
        serde_json::from_str(&postern_server::api::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let url = format!("https://{at}{}", filled(path));
        let response = operator.delete(url).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
        let allow = response.headers()["allow"].to_str().unwrap();
        let mut allowed: Vec<String> = allow.split(',').map(str::to_lowercase).collect();
        // Of what can be asked for, the head alone can be.
        allowed.retain(|method| method != "head");
        let documented: Vec<&String> = methods.as_object().unwrap().keys().collect();
        allowed.sort();
        assert_eq!(allowed.iter().collect::<Vec<_>>(), documented, "{path}");
    }
    running.stop().await;
}

/// Regression: the connection was cut while the body was still being sent, so a client that reads nothing before it
/// has sent everything never saw the refusal.
#[tokio::test]
async fn who_is_refused_by_the_head_is_told_so_however_much_is_still_coming() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let config = pair.site().connect_config(site::ADMIN).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(pair.address("a")).await.unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let path = pair.gateway("hall").path();
    let body = vec![b' '; MAX_BODY];
    // Twice: the connection goes on as well.
    for _ in 0..2 {
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {MAX_BODY}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut got = String::new();
        while !got.ends_with('}') {
            let mut some = [0; 1024];
            let length = stream.read(&mut some).await.unwrap();
            assert_ne!(length, 0, "{got}");
            got.push_str(std::str::from_utf8(&some[..length]).unwrap());
        }
        assert!(got.starts_with("HTTP/1.1 403 ") && got.contains("\"forbidden\""), "{got}");
    }
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn json_that_is_made_to_break_its_reader_is_refused_and_the_server_goes_on() {
    const DEEP: usize = 100_000;
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let (at, mut gateway) = (pair.address("a"), pair.gateway("hall"));
    gateway.swipe(1);
    let good = serde_json::to_string(&gateway.batch(1, 1)).unwrap();
    let with = |field: &str| good.replacen('{', &format!("{{{field},"), 1);
    let huge = "7".repeat(1_000_000);
    let long = "x".repeat(MAX_BODY - good.len() - 100);
    let bombs = [
        ("deep arrays", "[".repeat(DEEP)),
        ("deep objects", "{\"a\":".repeat(DEEP)),
        ("deep in a field", with(&format!("\"told\":{}{}", "[".repeat(DEEP), "]".repeat(DEEP)))),
        ("a huge number", with(&format!("\"full\":{huge}"))),
        ("a huge exponent", with("\"full\":1e999999999")),
        ("a huge fraction", with(&format!("\"full\":0.{huge}"))),
        ("a huge string", with(&format!("\"told\":\"{long}\""))),
        ("a field twice", with("\"oldest\":1,\"full\":1")),
        ("an array for an object", format!("[{good}]")),
        ("a half of a surrogate", with("\"told\":\"\\ud800\"")),
        ("nothing", String::new()),
    ];
    let urls = [
        format!("https://{at}{}", gateway.path()),
        format!("https://{at}/v1/role"),
        format!("https://{at}/v1/admin/rules"),
    ];
    for (url, client) in urls.iter().zip([&gateway.http, &gateway.http, &pair.operator()]) {
        for (what, body) in &bombs {
            let response = client.post(url).body(body.clone()).send().await.unwrap();
            let (status, answer) = refusal(response).await;
            assert_eq!((status, answer.code), (400, RefusalCode::BadRequest), "{what} at {url}");
            assert!(answer.message.len() < 1_000, "{what}: it is not said back");
        }
        // Past the limit nothing is looked at; the server may hang up before all of it is sent.
        if let Ok(response) = client.post(url).body("[".repeat(MAX_BODY + 1)).send().await {
            assert_eq!(response.status(), 413, "{url}");
        }
    }
    // What nobody knows is passed over, however deep it is.
    let unknown = with(&format!("\"x\":{}{}", "[".repeat(DEEP), "]".repeat(DEEP)));
    let response = gateway.http.post(&urls[0]).body(unknown).send().await.unwrap();
    let stored: Watermark = response.json().await.unwrap();
    assert_eq!(stored.stored, Seq(1));
    running.stop().await;
}
