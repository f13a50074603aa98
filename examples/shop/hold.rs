//! `--hold`: the shop stays open, to play with.
//!
//! In: a stage. Out: the commands to try, then every few seconds a line of what the customers
//! see on both sides. Ends with Ctrl-C, which `main` waits for.

use std::error::Error;
use std::time::Duration;

use crate::acts::Stage;
use crate::load::{self, Ask, Summary};
use crate::say;
use crate::table::ms;

const CONTROL_PORT: u16 = 9105;
/// Calls per second on each side: enough to see, little enough for a laptop's fan.
const RATE: u32 = 30;
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Keeps the shop open for ever.
pub async fn hold(stage: &Stage) -> Result<(), Box<dyn Error>> {
    let control = stage.services.control(CONTROL_PORT).await?;
    hints(stage, &control.to_string());
    loop {
        let (alone, meshed) =
            tokio::join!(load::run(stage.alone, RATE, LINE_EVERY), load::run(stage.meshed, RATE, LINE_EVERY));
        for (side, samples) in [("without", alone), ("with   ", meshed)] {
            let orders = Summary::of(&samples, |sample| sample.ask == Ask::Order);
            let catalog = Summary::of(&samples, |sample| sample.ask == Ask::Catalog);
            let one = |it: Summary| format!("{:5.1} %, p99 {:>7}", it.success_percent(), ms(it.p99));
            say!("{side} the sidecar: orders {}; catalog {}", one(orders), one(catalog));
        }
    }
}

fn hints(stage: &Stage, control: &str) {
    let Stage { alone, meshed, sidecar, .. } = stage;
    let (admin, proxy) = (sidecar.admin, sidecar.proxy);
    say!("The shop stays open; Ctrl-C closes it. Things to try in another terminal:\n");
    say!("  make payment slow         curl -X POST '{control}/payment-service?delay_ms=1000'");
    say!("  make inventory flaky      curl -X POST '{control}/inventory-service?fail=20'");
    say!("  make one well again       curl -X POST '{control}/payment-service'");
    say!("  see what they are         curl {control}/");
    say!("  place an order            curl -X POST {meshed}/orders   (without the sidecar: {alone})");
    say!("  call as the application   curl -x {proxy} http://user-service/users/7");
    say!("  what the sidecar sees     curl {admin}/services");
    say!("  the policy in force       curl {admin}/config");
    say!("  open a breaker            curl -X POST '{admin}/services/payment-service/breaker?state=open'");
    say!("  and give it back          curl -X POST '{admin}/services/payment-service/breaker?state=auto'");
    say!("  change the policy         edit {}\n", sidecar.yaml().display());
}
