//! What is added to pods, as the command line says it.
//!
//! In: flags. Out: settings. A flag sets for all pods what an annotation of the same form sets for one.

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};

use crate::kube::Settings;

/// What is added to every pod that does not say otherwise.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The sidecar, where a pod's annotations do not say otherwise")]
pub(super) struct Flags {
    /// The image of the sidecar.
    #[arg(long, value_name = "IMAGE", value_parser = of("image"))]
    image: Option<String>,
    /// The ConfigMap in the pod's namespace that holds the configuration.
    #[arg(long, value_name = "NAME", value_parser = of("config"))]
    config_map: Option<String>,
    /// No kernel rules, and no init container with NET_ADMIN: the containers get HTTP_PROXY instead.
    #[arg(long)]
    no_capture: bool,
    /// Ports of services that are not captured, such as 3306,9000-9009.
    #[arg(long, value_name = "PORTS", value_parser = of("skip-ports"))]
    skip_port: Vec<String>,
    /// Networks of services that are not captured, such as 10.9.0.0/16,2001:db8:9::/48.
    #[arg(long, value_name = "NETWORKS", value_parser = of("skip-networks"))]
    skip_network: Vec<String>,
    /// Users of the pod whose connections are not captured, such as 1001,1002.
    #[arg(long, value_name = "USERS", value_parser = of("skip-users"))]
    skip_user: Vec<String>,
    /// CPU that the scheduler keeps free for the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("cpu-request"))]
    cpu_request: Option<String>,
    /// CPU above which the kernel lets the sidecar wait; without it there is no limit.
    #[arg(long, value_name = "QUANTITY", value_parser = of("cpu-limit"))]
    cpu_limit: Option<String>,
    /// Memory that the scheduler keeps free for the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("memory-request"))]
    memory_request: Option<String>,
    /// Memory above which the kernel ends the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("memory-limit"))]
    memory_limit: Option<String>,
    /// The port of `outbound.listen` in the configuration: 15001.
    #[arg(long, value_name = "PORT", value_parser = of("outbound-port"))]
    outbound_port: Option<String>,
    /// The port of `admin.listen` in the configuration: 15000.
    #[arg(long, value_name = "PORT", value_parser = of("admin-port"))]
    admin_port: Option<String>,
    /// The port for probes and scrapers: 15020.
    #[arg(long, value_name = "PORT", value_parser = of("health-port"))]
    health_port: Option<String>,
    /// The user and group of the proxy, which nobody else in a pod may be: 1337.
    #[arg(long, value_name = "ID", value_parser = of("user"))]
    user: Option<String>,
    /// The namespace of Outrigger itself, whose pods are left alone: outrigger-system.
    #[arg(long, value_name = "NAME", value_parser = of("own-namespace"))]
    own_namespace: Option<String>,
}

// === impl Flags ===

impl Flags {
    /// The defaults with what the flags say. `Err`: what is wrong with all of them together.
    pub(super) fn settings(&self) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let list = |words: &[String]| (!words.is_empty()).then(|| words.join(","));
        let said = [
            ("image", self.image.clone()),
            ("config", self.config_map.clone()),
            ("capture", self.no_capture.then(|| "off".to_owned())),
            ("skip-ports", list(&self.skip_port)),
            ("skip-networks", list(&self.skip_network)),
            ("skip-users", list(&self.skip_user)),
            ("cpu-request", self.cpu_request.clone()),
            ("cpu-limit", self.cpu_limit.clone()),
            ("memory-request", self.memory_request.clone()),
            ("memory-limit", self.memory_limit.clone()),
            ("outbound-port", self.outbound_port.clone()),
            ("admin-port", self.admin_port.clone()),
            ("health-port", self.health_port.clone()),
            ("user", self.user.clone()),
            ("own-namespace", self.own_namespace.clone()),
        ];
        for (name, text) in said {
            if let Some(text) = text {
                settings.set(name, &text).map_err(|wrong| format!("{name}: {wrong}"))?;
            }
        }
        settings.check()?;
        Ok(settings)
    }
}

/// A text in the form of the setting `name`.
fn of(name: &'static str) -> impl TypedValueParser<Value = String> {
    NonEmptyStringValueParser::new().try_map(move |text| Settings::default().set(name, &text).map(|()| text))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn a_flag_sets_for_all_pods_what_an_annotation_sets_for_one() {
        let words =
            ["x", "--image=r.example/o:1", "--no-capture", "--skip-port=3306,9000-9009", "--skip-port=1"];
        let settings = Program::try_parse_from(words).ok().unwrap().flags.settings().unwrap();
        assert_eq!((settings.image.as_str(), settings.capture), ("r.example/o:1", false));
        assert_eq!(settings.skip.ports, ["3306", "9000-9009", "1"]);
        assert_eq!(settings.config, Settings::default().config);
    }

    #[test]
    fn settings_that_do_not_go_together_are_told() {
        for (flag, told) in [
            ("--memory-limit=8Mi", "want at least the memory request of 16Mi"),
            ("--admin-port=15020", "want three different ones"),
        ] {
            let flags = Program::try_parse_from(["x", flag]).ok().unwrap().flags;
            let wrong = flags.settings().unwrap_err();
            assert!(wrong.contains(told), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (flag, wanted) in [
            ("--skip-network=10.0.0.0/99", "want networks"),
            ("--memory-limit=much", "want a quantity"),
            ("--image=", "a value is required"),
        ] {
            let told = Program::try_parse_from(["x", flag]).err().unwrap().to_string();
            assert!(told.contains(wanted), "{told}");
        }
    }
}
