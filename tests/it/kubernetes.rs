//! The manifests under `k8s/`: those that `outrigger` writes are what it writes now.
//!
//! Run with `UPDATE_EXPECTED=1` after changing what is injected. That they are valid is shown by tests/peers.

use crate::support::outrigger;

/// A command's arguments, and the file that holds what it prints.
const WRITTEN: [(&[&str], &str); 2] = [
    (&["inject", "--policy"], "k8s/policy/policy.yaml"),
    (&["inject", "k8s/shop/base/shop.yaml"], "k8s/shop/injected/shop.yaml"),
];

async fn printed(arguments: &[&str]) -> String {
    let output = outrigger(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn written_manifests_are_what_the_command_prints() {
    for (arguments, file) in WRITTEN {
        let wanted = printed(arguments).await;
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(file, wanted).expect("writing the manifest");
            continue;
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert_eq!(found, wanted, "{file}: run with UPDATE_EXPECTED=1");
    }
}

#[tokio::test]
async fn an_injected_manifest_stays_as_it_is() {
    let file = "k8s/shop/injected/shop.yaml";
    let found = std::fs::read_to_string(file).expect("the manifest");
    assert_eq!(printed(&["inject", file]).await, found);
    let source = std::fs::read_to_string("k8s/shop/base/shop.yaml").expect("the manifest");
    assert_eq!(printed(&["uninject", file]).await, source);
}

#[tokio::test]
async fn the_configuration_of_the_pods_is_without_warnings() {
    let output = outrigger(&["check", "k8s/config/outrigger.yaml"]).await;
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("0 warnings"), "{text}");
}
