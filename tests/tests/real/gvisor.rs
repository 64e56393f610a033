//! gVisor, where it has not been told to let plugins make sockets.

use plugward_api::{ConditionStatus, InstanceCondition};
use plugward_tests::real::{RUNSC_NONE, counter, on_each_spare_engine, runtime, slot};

#[tokio::test]
async fn gvisor_that_hides_a_plugins_socket_is_recognised_and_the_flag_is_told() {
    // No other test is to find this runtime on its engine.
    on_each_spare_engine(false, |world, _| async move {
        world.declare("runtime.yaml", &[runtime(&world.engine.host).on(RUNSC_NONE)]);
        world.declare("counter.yaml", &[counter("counter").on(RUNSC_NONE)]);
        world.start().await;
        let told = |message: &str| message.contains("--host-uds=create") && message.contains("daemon.json");
        let status = world
            .until("counter", "tells the flag", |status| {
                let progressing = status.conditions.get(InstanceCondition::Progressing);
                progressing
                    .is_some_and(|found| found.status == ConditionStatus::False && told(&found.message))
            })
            .await;
        let exit = slot(&status).last_exit.clone().unwrap();
        assert_eq!(exit.reason.as_str(), "handshake_failed");
        assert!(told(&exit.message), "{}", exit.message);

        world.declare("runtime.yaml", &[runtime(&world.engine.host).on("runsc")]);
        world.declare("counter.yaml", &[counter("counter").on("runsc")]);
        world.until_ready("counter").await;
    })
    .await;
}
