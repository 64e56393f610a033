//! Which calls are the plugin's, and which are answered here.

use super::priming::{PrimingRules, Role};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Something of the plugin's.
    Plugin(Role),
    /// Something of the plugin's that the gateway calls for its hosts.
    Made(Role),
    /// Something that the gateway serves itself.
    Own(Own),
}

/// What the gateway serves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// `GRPCController.Shutdown`: a host must not stop a plugin that others use, and need not: it is started again.
    Shutdown,
    /// `GRPCStdio.StreamStdio`: open for as long as the host wants it.
    Stdio,
    /// `GRPCBroker.StartStream`: open until the host ends it.
    Broker,
    /// `grpc.health.v1.Health/Check`.
    HealthCheck,
    /// `grpc.health.v1.Health/Watch`.
    HealthWatch,
}

// === impl Method ===

impl Method {
    /// The method at a path.
    pub(super) fn of(path: &[u8], rules: &PrimingRules) -> Self {
        match path {
            b"/plugin.GRPCController/Shutdown" => Self::Own(Own::Shutdown),
            b"/plugin.GRPCStdio/StreamStdio" => Self::Own(Own::Stdio),
            b"/plugin.GRPCBroker/StartStream" => Self::Own(Own::Broker),
            b"/grpc.health.v1.Health/Check" => Self::Own(Own::HealthCheck),
            b"/grpc.health.v1.Health/Watch" => Self::Own(Own::HealthWatch),
            _ => match rules.role(path) {
                role @ (Role::Primes | Role::Ends) if rules.are_made_here() => Self::Made(role),
                role => Self::Plugin(role),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use plugward_api::PluginType;
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::priming::is_application;

    fn database() -> PrimingRules {
        PrimingRules::of(PluginType::Database, &[])
    }

    #[test]
    fn a_database_is_primed_by_initialize_until_close() {
        for (path, role) in [
            ("/dbplugin.v5.Database/Initialize", Role::Primes),
            ("/dbplugin.v5.Database/Close", Role::Ends),
            ("/dbplugin.v5.Database/Type", Role::Prelude),
            ("/logical.PluginVersion/Version", Role::Prelude),
            ("/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport", Role::Prelude),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Prelude),
            ("/dbplugin.v5.Database/NewUser", Role::Work),
            ("/grpc.reflection.v2/Service", Role::Work),
        ] {
            assert_eq!(Method::of(path.as_bytes(), &database()), Method::Plugin(role), "{path}");
        }
        let ended: Vec<&str> = ["/dbplugin.v5.Database/Initialize"].to_vec();
        assert_eq!(database().ended_by("/dbplugin.v5.Database/Close").collect::<Vec<_>>(), ended);
    }

    #[test]
    fn a_custom_plugin_is_primed_as_declared_and_others_by_nothing() {
        let priming = |method: &str, until: Option<&str>| plugward_api::instance::Priming {
            method: method.parse().unwrap(),
            until: until.map(|until| until.parse().unwrap()),
        };
        let declared = [priming("/a.B/Login", Some("/a.B/Logout")), priming("/a.B/Configure", None)];
        let rules = PrimingRules::of(PluginType::Custom, &declared);
        assert_eq!(rules.methods().collect::<Vec<_>>(), ["/a.B/Login", "/a.B/Configure"]);
        assert_eq!(rules.role(b"/a.B/Logout"), Role::Ends);
        assert_eq!(rules.role(b"/dbplugin.v5.Database/Initialize"), Role::Work);
        let secret = PrimingRules::of(PluginType::Secret, &declared);
        assert_eq!(secret.role(b"/a.B/Login"), Role::Work);
    }

    #[test]
    fn a_backend_is_set_up_until_its_cleanup_by_calls_that_are_made_here() {
        let auth = PrimingRules::of(PluginType::Auth, &[]);
        let method = |name: &str| Method::of(format!("/pb.Backend/{name}").as_bytes(), &auth);
        assert_eq!(method("Setup"), Method::Made(Role::Primes));
        assert_eq!(method("Initialize"), Method::Made(Role::Primes));
        assert_eq!(method("Cleanup"), Method::Made(Role::Ends));
        assert_eq!(method("HandleRequest"), Method::Plugin(Role::Work));
        assert_eq!(auth.methods().collect::<Vec<_>>(), ["/pb.Backend/Setup", "/pb.Backend/Initialize"]);
        assert_eq!(auth.ended_by("/pb.Backend/Cleanup").count(), 2);
    }

    #[test]
    fn an_id_belongs_to_what_is_the_applications() {
        assert!(is_application(b"/dbplugin.v5.Database/Type"));
        assert!(is_application(b"/logical.PluginVersion/Version"));
        assert!(!is_application(b"/pluginutil.multiplexing.PluginMultiplexing/MultiplexingSupport"));
        assert!(!is_application(b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"));
    }

    proptest! {
        #[test]
        fn what_is_not_known_is_the_plugins(path in "/[a-z.]{0,20}/[A-Za-z]{0,10}") {
            prop_assert_eq!(Method::of(path.as_bytes(), &database()), Method::Plugin(Role::Work));
        }
    }
}
