use serde_json::json;

use super::*;

fn refused(spec: Value) -> String {
    check(&json!({"spec": spec}), "template").unwrap_err()
}

#[test]
fn what_an_operator_can_read_passes() {
    for template in [
        json!({}),
        json!({"metadata": {"labels": {"a": "b"}, "creationTimestamp": null}}),
        json!({"spec": {"containers": [{"name": "sandbox", "image": "x"}], "of a newer cluster": [null, 1.5]}}),
        json!({"spec": {"containers": [{"name": "a", "unknown": null, "resources": {"limits": {"cpu": 1.5, "memory": "1Gi",
            "nvidia.com/gpu": 2}, "requests": {"cpu": "500m", "memory": null}}, "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], "overhead": {"cpu": "1e3"}}}),
    ] {
        assert_eq!(check(&template, "template"), Ok(()), "{template}");
    }
}

#[test]
fn every_quantity_is_looked_at() {
    let bad = "lots";
    let resources = json!({"resources": {"requests": {"cpu": bad}}});
    let divisor = json!({"resourceFieldRef": {"divisor": bad}});
    for (spec, place) in [
        (json!({"containers": [resources]}), "containers[0].resources.requests.cpu"),
        (json!({"initContainers": [{}, resources]}), "initContainers[1].resources.requests.cpu"),
        (json!({"ephemeralContainers": [resources]}), "ephemeralContainers[0].resources.requests.cpu"),
        (
            json!({"containers": [{"env": [{"valueFrom": divisor}]}]}),
            "containers[0].env[0].valueFrom.resourceFieldRef.divisor",
        ),
        (json!({"volumes": [{"emptyDir": {"sizeLimit": bad}}]}), "volumes[0].emptyDir.sizeLimit"),
        (
            json!({"volumes": [{"ephemeral": {"volumeClaimTemplate": {"spec": resources}}}]}),
            "volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests.cpu",
        ),
        (
            json!({"volumes": [{"downwardAPI": {"items": [divisor]}}]}),
            "volumes[0].downwardAPI.items[0].resourceFieldRef.divisor",
        ),
        (
            json!({"volumes": [{"projected": {"sources": [{}, {"downwardAPI": {"items": [divisor]}}]}}]}),
            "volumes[0].projected.sources[1].downwardAPI.items[0].resourceFieldRef.divisor",
        ),
        (resources.clone(), "resources.requests.cpu"),
        (json!({"overhead": {"cpu": bad}}), "overhead.cpu"),
    ] {
        assert_eq!(refused(spec), format!("template.spec.{place}: 'lots' is no quantity such as 500m or 1Gi."));
    }
    for bad in [json!(""), json!("-1"), json!("1 Gi"), json!(true), json!({}), json!("1KiB")] {
        let limits = json!({"containers": [{"resources": {"limits": {"memory": bad}}}]});
        assert!(refused(limits).starts_with("template.spec.containers[0].resources.limits.memory: '"), "{bad}");
    }
}

#[test]
fn a_time_is_as_strict_as_the_operator_reads_it() {
    let metadata = |time: &Value, name: &str| match name {
        "managedFields[0].time" => json!({"managedFields": [{"manager": "m", "time": time}]}),
        name => json!({name: time}),
    };
    let refused = |template: Value| check(&template, "template").err();
    let places = ["creationTimestamp", "deletionTimestamp", "managedFields[0].time"];
    for time in [
        json!("2026-11-23 02:11:02Z"),
        json!("2026-11-23t02:11:02Z"),
        json!("2026-11-23T02:11:02z"),
        json!("2026-11-23T02:11:02-04"),
        json!("2026-11-23T02:11Z"),
        json!("2026-11-23T02:11:60Z"),
        json!("2026-11-23T24:00:00Z"),
        json!("2026-02-30T02:11:02Z"),
        json!("2026-11-23T02:11:02Z[UTC]"),
        json!("2026-11-23T02:11:02.Z"),
        json!("2026-11-23T02:11:02+0400"),
        json!("+002026-11-23T02:11:02Z"),
        json!("2026-11-23T02:11:02"),
        json!("2026-11-23T02:11:0é"),
        json!(""),
        json!(5),
        json!({}),
    ] {
        for name in places {
            let metadata = metadata(&time, name);
            let why = format!("{name}: {time} is no time such as 2026-11-23T02:11:02Z.");
            assert_eq!(refused(json!({"metadata": metadata})), Some(format!("template.metadata.{why}")));
            let claim =
                json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": metadata, "spec": {}}}}]);
            let place = "template.spec.volumes[0].ephemeral.volumeClaimTemplate.metadata";
            assert_eq!(refused(json!({"spec": {"volumes": claim}})), Some(format!("{place}.{why}")));
        }
    }
    for time in [
        json!("2026-11-23T02:11:02Z"),
        json!("2026-11-23T02:11:02.123456789Z"),
        json!("2026-11-23T02:11:02-04:00"),
        Value::Null,
    ] {
        for name in places {
            assert_eq!(refused(json!({"metadata": metadata(&time, name)})), None, "{name} {time}");
        }
    }
}

#[test]
fn another_type_than_is_meant_is_refused() {
    for spec in [
        json!({"containers": "x"}),
        json!({"containers": [{"name": 5}]}),
        json!({"containers": [{"command": "sleep"}]}),
        json!({"containers": [{"ports": [{"containerPort": 99_999_999_999_u64}]}]}),
        json!({"containers": [{"resources": {"limits": ["cpu"]}}]}),
        json!([]),
        json!({"hostNetwork": "yes"}),
    ] {
        assert!(refused(spec.clone()).starts_with("template is no pod template: "), "{spec}");
    }
    for template in [json!("x"), json!([]), json!(5), Value::Null] {
        assert_eq!(check(&template, "a.b").unwrap_err(), "a.b is no pod template: it is no object.");
    }
    let long = refused(json!({"hostNetwork": "y".repeat(5000)}));
    assert!(long.len() < 300, "{long}");
}

#[test]
fn a_task_is_as_the_operator_reads_it() {
    let checked = |process: Value| check_task(&json!({"spec": {"process": process}}), "spec.taskTemplate");
    let divisor = |divisor: Value| {
        let source = json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": divisor}});
        json!({"command": ["a"], "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": source}]})
    };
    let hook = json!({"exec": {"command": ["a"]}, "execMode": "Local", "timeoutSeconds": 5});
    for process in [
        json!({"command": ["a"], "args": ["b"], "workingDir": "/x", "execMode": "Remote", "lifecycle": {"preStart": hook}}),
        json!({"command": [null], "args": null, "lifecycle": {"postStop": null}, "of a newer operator": 5}),
        divisor(json!("1m")),
        divisor(json!(1)),
        Value::Null,
    ] {
        assert_eq!(checked(process.clone()), Ok(()), "{process}");
    }
    for process in [
        json!("x"),
        json!({"command": "a"}),
        json!({"command": [1]}),
        json!([null, null]),
        json!({"lifecycle": [null, null]}),
        json!({"env": {"A": "b"}}),
        json!({"env": [{"name": "A", "value": 1}]}),
        json!({"workingDir": 5}),
        json!({"lifecycle": {"preStart": {"timeoutSeconds": "5"}}}),
        json!({"lifecycle": {"postStop": {"exec": {"command": "a"}}}}),
    ] {
        let why = checked(process.clone()).unwrap_err();
        assert!(why.starts_with("spec.taskTemplate is no template of a task: "), "{process}: {why}");
    }
    let place = "spec.taskTemplate.spec.process.env[1].valueFrom.resourceFieldRef.divisor";
    let expected = format!("{place}: 'lots' is no quantity such as 500m or 1Gi.");
    assert_eq!(checked(divisor(json!("lots"))).unwrap_err(), expected);
    for task in [json!("x"), json!([]), json!({"spec": 5}), json!({"spec": {"timeoutSeconds": 1.5}})] {
        assert!(check_task(&task, "spec.taskTemplate").is_err(), "{task}");
    }
}
