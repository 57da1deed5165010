//! Bodies that are as they should be, for whoever tries the interface.

use serde_json::{Value, json};

/// A batch of a new journal: the one of `docs/uplink.md`, to which a test holds it.
pub(in crate::api) fn batch() -> Value {
    json!({
      "role": null,
      "oldest": 1,
      "full": 0,
      "chain_before": "756c114bb13ee1ea10d291a3bb9d05b14d83f0286e7a9780c847489f42c97de8",
      "epochs": [
        {
          "controller": "uhppote-405419896",
          "provisional": "11111111111111111111111111111111",
          "epoch": "11111111111111111111111111111111"
        }
      ],
      "entries": [
        {
          "seq": 1,
          "bytes": "AQAB+O6owQERERERERERERERERERERERJQABgOCu+89gAADo5677z2ABBAEAAaCx8gMEq6urqw==",
          "transaction": {
            "origin": {
              "controller": {
                "controller": "uhppote-405419896",
                "epoch": "11111111111111111111111111111111",
                "index": 37
              }
            },
            "kind": "granted",
            "occurred": {
              "at": 1_660_000_000_000_i64,
              "source": "controller",
              "trust": "exact"
            },
            "received": 1_660_000_000_500_i64,
            "door": 4,
            "direction": "in",
            "credential": 8_165_536,
            "raw": "abababab"
          }
        }
      ]
    })
}
