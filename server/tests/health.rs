//! What load balancers ask: who may, and what the answers are as the role changes.

use std::collections::BTreeMap;

use crate::common::{Pair, equal, fail_over, http, in_sync, refusal, tls, until};
use postern_protocol::pki::{PeerIdentity, PeerRole};
use postern_protocol::uplink::RefusalCode;
use postern_server::api::Health;
use postern_server::serve;

const PATHS: [&str; 4] = ["/live", "/ready", "/active", "/standby"];

fn holder(pair: &Pair, role: PeerRole) -> reqwest::Client {
    let who = PeerIdentity { site: "north".into(), role, name: "lb".into() };
    http(tls(&pair.site(), &pair.site(), &who))
}

/// The statuses, and what the last of the bodies says.
async fn ask(client: &reqwest::Client, at: &str) -> (BTreeMap<&'static str, u16>, Health) {
    let (mut statuses, mut last) = (BTreeMap::new(), None);
    for path in PATHS {
        let response = client.get(format!("https://{at}{path}")).send().await.unwrap();
        let status = response.status().as_u16();
        let health: Health = response.json().await.unwrap();
        assert_eq!(status == 200, health.why.is_none(), "{path}: {health:?}");
        statuses.insert(path, status);
        last = Some(health);
    }
    (statuses, last.unwrap())
}

/// Where only these are answered with yes.
fn yes(paths: &[&str]) -> BTreeMap<&'static str, u16> {
    PATHS.map(|path| (path, if paths.contains(&path) { 200 } else { 503 })).into()
}

#[tokio::test]
async fn health_says_who_is_active_and_follows_the_role() {
    let pair = Pair::new();
    let (a, b) = (serve::start(&pair.a).await.unwrap(), serve::start(&pair.b).await.unwrap());
    in_sync(&pair, "a").await;
    equal(&pair).await;
    let monitor = holder(&pair, PeerRole::Monitor);
    let (at_a, at_b) = (pair.address("a"), pair.address("b"));
    let (statuses, health) = ask(&monitor, &at_a).await;
    assert_eq!(statuses, yes(&["/live", "/ready", "/active"]));
    assert_eq!((health.state.as_str(), health.active.as_str()), ("active", "a"));
    let (statuses, health) = ask(&monitor, &at_b).await;
    assert_eq!(statuses, yes(&["/live", "/ready", "/standby"]));
    assert_eq!((health.state.as_str(), health.active.as_str()), ("standby", "a"));
    let before = health.role_term;

    assert_eq!(fail_over(&pair, "b", false).await.status(), 200);
    let (statuses, health) = ask(&monitor, &at_b).await;
    assert_eq!(statuses, yes(&["/live", "/ready", "/active"]));
    assert!(health.role_term > before, "{health:?}");
    until("a stands by", async || {
        ask(&monitor, &at_a).await.0 == yes(&["/live", "/ready", "/standby"])
    })
    .await;

    // A standby that has nobody to follow says so, and is ready to be asked all the same.
    b.stop().await;
    until("a follows nobody", async || ask(&monitor, &at_a).await.0 == yes(&["/live", "/ready"]))
        .await;
    a.stop().await;
}

#[tokio::test]
async fn a_monitor_may_ask_for_health_and_for_nothing_else() {
    let pair = Pair::new();
    let running = serve::start(&pair.a).await.unwrap();
    let at = pair.address("a");
    let document: serde_json::Value =
        serde_json::from_str(&postern_server::api::document()).unwrap();
    let mut refused = 0;
    for role in [PeerRole::Monitor, PeerRole::Witness] {
        let client = holder(&pair, role.clone());
        for (path, methods) in document["paths"].as_object().unwrap() {
            if PATHS.contains(&path.as_str()) {
                let response = client.get(format!("https://{at}{path}")).send().await.unwrap();
                assert!([200, 503].contains(&response.status().as_u16()), "{path}");
                continue;
            }
            let filled = path
                .replace("{group}", "main")
                .replace("{journal}", "07070707-0707-0707-0707-070707070707")
                .replace("{controller}", "uhppote-1");
            for method in methods.as_object().unwrap().keys() {
                let method = method.to_uppercase().parse().unwrap();
                let request = client.request(method, format!("https://{at}{filled}"));
                let (status, refusal) = refusal(request.send().await.unwrap()).await;
                if role == PeerRole::Witness && path.starts_with("/v1/voters/") {
                    // It is for voters, and this site has no third one.
                    assert_eq!((status, refusal.code), (404, RefusalCode::NotFound), "{path}");
                    continue;
                }
                assert_eq!((status, refusal.code), (403, RefusalCode::Forbidden), "{path}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 28 + 24);
    running.stop().await;
}
