//! §3: the answer by the pod's state. `follow` gives the same, it never waits.

use super::{Case, whole};
use crate::support::kube::logs::{Container, LogRequest, PodLogs, PodObject, Reach, Status};

fn case(logs: PodLogs, main: Container, pod: &PodObject) -> Case {
    Case { logs, main, pod: pod.json() }
}

/// A pod whose container `main` is in a state without an instance.
fn waiting(name: &str, status: &Status) -> Case {
    let logs = PodLogs::new();
    let main = logs.container();
    case(logs, main, &PodObject::new("default", name).container("main", status).phase("Pending"))
}

#[tokio::test]
async fn a_missing_pod_is_a_404_of_pods() {
    let logs = PodLogs::new();
    let request = LogRequest { namespace: "nope", name: "nopod", query: &[], accept: None, pod: None };
    let whole = whole(logs.answer(request).await).await;
    let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"nopod\" not found","reason":"NotFound","details":{"name":"nopod","kind":"pods"},"code":404}"#;
    assert_eq!((whole.status, whole.text()), (404, format!("{text}\n")));
}

#[tokio::test]
async fn several_regular_containers_need_a_name() {
    let logs = PodLogs::new();
    let [init, first, second] = [logs.container(), logs.container(), logs.container()];
    init.out("from-in1\n");
    init.exit();
    first.out("from-aa\n");
    second.out("from-bb\n");
    let pod = PodObject::new("default", "multi")
        .init("in1", &Status::terminated(&init, 0))
        .container("aa", &Status::running(&first))
        .container("bb", &Status::running(&second));
    let case = case(logs, first, &pod);
    let text = "a container name must be specified for pod multi, choose one of: [in1 aa bb]";
    assert_eq!(case.refusal("").await, (400, text.to_owned(), "BadRequest".to_owned()));
    assert_eq!(case.text("container=bb").await, "from-bb\n");
    assert_eq!(case.text("container=in1").await, "from-in1\n");
    assert_eq!(case.text("container=in1&follow=true").await, "from-in1\n");
    assert_eq!(case.refusal("container=zz").await.1, "container zz is not valid for pod multi");
}

#[tokio::test]
async fn one_regular_container_needs_no_name() {
    let logs = PodLogs::new();
    let [side, main, debug] = [logs.container(), logs.container(), logs.container()];
    side.out("side\n");
    main.out("m\n");
    debug.out("from-dbg\n");
    let pod = PodObject::new("default", "sidecar")
        .init("side", &Status::running(&side))
        .container("main", &Status::running(&main))
        .ephemeral("dbg", &Status::running(&debug));
    let case = case(logs, main, &pod);
    assert_eq!(case.text("").await, "m\n");
    assert_eq!(case.text("container=").await, "m\n");
    assert_eq!(case.text("container=side&tailLines=1").await, "side\n");
    assert_eq!(case.text("container=dbg").await, "from-dbg\n");
}

#[tokio::test]
async fn an_unscheduled_pod_has_no_content() {
    let pod = PodObject::new("default", "w-unsched").unreported("main").node(None);
    let logs = PodLogs::new();
    let main = logs.container();
    let case = case(logs, main, &pod);
    for query in ["", "follow=true"] {
        let answer = case.answer(query).await;
        assert_eq!((answer.status, answer.content_type.as_deref()), (204, None), "{query}");
        assert_eq!(whole(answer).await.bytes(), b"");
    }
    // The container is looked for first.
    assert_eq!(case.refusal("container=nope").await.0, 400);
}

#[tokio::test]
async fn waiting_containers_are_400_with_their_reason() {
    for (reason, text) in [
        ("ContainerCreating", "ContainerCreating"),
        ("PodInitializing", "PodInitializing"),
        ("CreateContainerConfigError", "CreateContainerConfigError"),
        ("ErrImageNeverPull", "ErrImageNeverPull"),
        ("InvalidImageName", "InvalidImageName"),
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
    ] {
        let case = waiting("w", &Status::waiting(reason));
        let text = format!("container \"main\" in pod \"w\" is waiting to start: {text}");
        for query in ["", "follow=true"] {
            assert_eq!(case.refusal(query).await, (400, text.clone(), "BadRequest".to_owned()), "{query}");
        }
        assert_eq!(case.refusal("container=nope").await.1, "container nope is not valid for pod w");
    }
}

#[tokio::test]
async fn a_pod_that_was_just_bound_waits_for_its_container() {
    let logs = PodLogs::new();
    let main = logs.container();
    let case = case(logs, main, &PodObject::new("default", "early").unreported("main"));
    let text = "container \"main\" in pod \"early\" is waiting to start: ContainerCreating";
    assert_eq!(case.refusal("").await.1, text);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_an_empty_200() {
    let logs = PodLogs::new();
    let main = logs.container();
    main.exit();
    let ended = Status::terminated_by(&main, 128, "StartError");
    let back_off = Status::waiting("CrashLoopBackOff").after(&main, 128);
    for status in [ended, back_off] {
        let pod = PodObject::new("default", "w-cmd").container("main", &status);
        let case = case(logs.clone(), main.clone(), &pod);
        for query in ["", "follow=true"] {
            assert_eq!(case.text(query).await, "", "{query}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn finished_pods_are_whole_and_their_follow_ends_at_once() {
    let logs = PodLogs::new();
    let main = logs.container();
    main.out("done-ok\n");
    main.exit();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    let pod = PodObject::new("default", "ok").container("main", &Status::terminated(&main, 0)).phase("Succeeded");
    let case = case(logs, main, &pod);
    let start = tokio::time::Instant::now();
    assert_eq!(case.text("").await, "done-ok\n");
    assert_eq!(case.text("follow=true").await, "done-ok\n");
    assert_eq!(case.text("follow=true&tailLines=0").await, "");
    assert_eq!(start.elapsed(), std::time::Duration::ZERO);
    assert_eq!(case.refusal("previous=true").await.1, "previous terminated container \"main\" in pod \"ok\" not found");
}

#[tokio::test]
async fn after_a_restart_there_is_one_previous_instance() {
    let logs = PodLogs::new();
    let [first, second] = [logs.container(), logs.container()];
    first.out("first\nbye\n");
    first.exit();
    second.out("second\n");
    let running = PodObject::new("default", "rst").container("main", &Status::running(&second).after(&first, 0));
    let running = case(logs.clone(), second.clone(), &running);
    assert_eq!(running.text("").await, "second\n");
    assert_eq!(running.text("previous=true").await, "first\nbye\n");
    assert_eq!(running.text("previous=true&follow=true&tailLines=1").await, "bye\n");
    // In back-off, "previous" and "current" are one instance.
    second.exit();
    let waiting = Status::waiting("CrashLoopBackOff").after(&second, 0).restarts(1);
    let waiting = case(logs, second, &PodObject::new("default", "rst").container("main", &waiting));
    for query in ["", "previous=true", "follow=true"] {
        assert_eq!(waiting.text(query).await, "second\n", "{query}");
    }
}

#[tokio::test]
async fn a_container_that_is_gone_is_a_text_in_a_200() {
    let case = Case::new("del1");
    case.main.out("up\n");
    case.logs.forget(&case.main);
    let text = format!("unable to retrieve container logs for {}", case.main.id());
    assert_eq!((case.text("").await, text.len()), (text, 115));
}

#[tokio::test]
async fn a_missing_node_is_a_404_of_pods_that_names_the_node() {
    let logs = PodLogs::new();
    let main = logs.container();
    let pod = PodObject::new("default", "ghost").container("main", &Status::running(&main)).node(Some("nonode"));
    let whole = case(logs, main, &pod).whole("").await;
    let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"nonode\" not found","reason":"NotFound","details":{"name":"nonode","kind":"pods"},"code":404}"#;
    assert_eq!((whole.status, whole.text()), (404, format!("{text}\n")));
}

#[tokio::test]
async fn a_kubelet_that_does_not_know_the_pod_yet_is_a_404_of_pods_log() {
    let case = Case::new("tk");
    case.main.node().set_reach(Reach::Starting);
    let whole = case.whole("").await;
    let text = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource ( pods/log tk)","reason":"NotFound","details":{"name":"tk","kind":"pods/log"},"code":404}"#;
    assert_eq!((whole.status, whole.text()), (404, format!("{text}\n")));
}
