//! What is added to pods, as the command line says it: the defaults of the annotations.
//!
//! In: flags. Out: settings. Each flag has the name and the form of the annotation that changes it for one
//! pod.

use clap::builder::{NonEmptyStringValueParser, TypedValueParser};

use crate::kube::Settings;

/// What is added to every pod that does not say otherwise.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The sidecar")]
pub(super) struct Sidecar {
    /// The image of the sidecar.
    #[arg(long, value_name = "IMAGE", value_parser = of("image"))]
    image: Option<String>,
    /// The ConfigMap in the pod's namespace that holds the configuration.
    #[arg(long = "config", value_name = "NAME", value_parser = of("config"))]
    config_map: Option<String>,
    /// `off`: no kernel rules; the containers get HTTP_PROXY instead.
    #[arg(long, value_name = "on|off", value_parser = of("capture"))]
    capture: Option<String>,
    /// Ports of services that are not captured, such as 3306,9000-9009.
    #[arg(long, value_name = "PORTS", value_parser = of("skip-ports"))]
    skip_ports: Option<String>,
    /// Networks of services that are not captured, such as 10.9.0.0/16,2001:db8:9::/48.
    #[arg(long, value_name = "NETWORKS", value_parser = of("skip-networks"))]
    skip_networks: Option<String>,
    /// Users of the pod whose connections are not captured, such as 1001,1002.
    #[arg(long, value_name = "USERS", value_parser = of("skip-users"))]
    skip_users: Option<String>,
    /// CPU that the scheduler keeps free for the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("cpu-request"))]
    cpu_request: Option<String>,
    /// Memory that the scheduler keeps free for the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("memory-request"))]
    memory_request: Option<String>,
    /// Memory above which the kernel ends the sidecar.
    #[arg(long, value_name = "QUANTITY", value_parser = of("memory-limit"))]
    memory_limit: Option<String>,
}

// === impl Sidecar ===

impl Sidecar {
    /// The defaults with what the flags say.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let said = [
            ("image", &self.image),
            ("config", &self.config_map),
            ("capture", &self.capture),
            ("skip-ports", &self.skip_ports),
            ("skip-networks", &self.skip_networks),
            ("skip-users", &self.skip_users),
            ("cpu-request", &self.cpu_request),
            ("memory-request", &self.memory_request),
            ("memory-limit", &self.memory_limit),
        ];
        for (name, text) in said {
            // The parser of the flag has seen that it fits.
            let _ = text.as_ref().map(|text| settings.set(name, text));
        }
        settings
    }
}

/// A text in the form of the annotation `name`.
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
        flags: Sidecar,
    }

    #[test]
    fn a_flag_is_the_default_of_its_annotation() {
        let words = ["x", "--image=r.example/o:1", "--capture=off", "--skip-ports=3306,9000-9009"];
        let settings = Program::try_parse_from(words).ok().map(|program| program.flags.settings()).unwrap();
        assert_eq!((settings.image.as_str(), settings.capture), ("r.example/o:1", false));
        assert_eq!(settings.skip.ports, ["3306", "9000-9009"]);
        assert_eq!(settings.config, Settings::default().config);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (flag, wanted) in [
            ("--capture=maybe", "want \"on\" or \"off\""),
            ("--skip-networks=10.0.0.0/99", "want networks with commas between"),
            ("--memory-limit=much", "want a quantity"),
        ] {
            let told = Program::try_parse_from(["x", flag]).err().unwrap().to_string();
            assert!(told.contains(wanted), "{told}");
        }
    }
}
