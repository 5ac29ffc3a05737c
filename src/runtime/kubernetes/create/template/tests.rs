use super::*;

fn read(text: &str, provider: WorkloadProvider) -> Result<Template, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.yaml");
    std::fs::write(&path, text).unwrap();
    Template::read(&path, provider).map_err(|error| {
        assert_eq!(error.key(), (Family::Startup, Kind::Failed));
        error.message.replace(&path.display().to_string(), "FILE")
    })
}

fn batch(text: &str) -> Template {
    read(text, WorkloadProvider::BatchSandbox).unwrap()
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start() {
    let missing = Template::read(Path::new("/no/t.yaml"), WorkloadProvider::BatchSandbox).unwrap_err();
    assert_eq!(missing.message, "BatchSandbox template file not found: /no/t.yaml");
    let missing = Template::read(Path::new("/no/t.yaml"), WorkloadProvider::AgentSandbox).unwrap_err();
    assert_eq!(missing.message, "Agent sandbox template file not found: /no/t.yaml");
    for (text, why) in [
        ("- a", "it is no YAML object"),
        ("spec: x", "`spec` is no object"),
        ("metadata: []", "`metadata` is no object"),
        (
            "spec: {template: {spec: {terminationGracePeriodSeconds: soon}}}",
            "spec.template is no pod template: invalid type: string \"soon\", expected i64.",
        ),
        ("metadata: {labels: {a: 1}}", "metadata: invalid type: integer `1`, expected a string."),
        (
            "spec: {template: {metadata: {annotations: {a: yes, b: 2}}}}",
            "spec.template is no pod template: invalid type: integer `2`, expected a string.",
        ),
        (
            "spec: {template: {metadata: {creationTimestamp: 2026-11-23 02:11:02Z}}}",
            "spec.template.metadata.creationTimestamp: \"2026-11-23 02:11:02Z\" is no time such as 2026-11-23T02:11:02Z.",
        ),
        (
            "spec: {shardPatches: [{}, {spec: {containers: [{name: a, resources: {limits: {cpu: lots}}}]}}]}",
            "spec.shardPatches[1].spec.containers[0].resources.limits.cpu: 'lots' is no quantity such as 500m or 1Gi.",
        ),
        ("spec: {shardPatches: {spec: {}}}", "spec.shardPatches is no list."),
        ("spec: {shardPatches: [a]}", "spec.shardPatches[0] is no pod template: it is no object."),
        ("spec: {shardTaskPatches: x}", "spec.shardTaskPatches is no list."),
        (
            "spec: {shardTaskPatches: [{spec: {timeoutSeconds: soon}}]}",
            "spec.shardTaskPatches[0] is no template of a task: invalid type: string \"soon\", expected i64.",
        ),
        (
            "spec: {taskTemplate: {spec: {process: {command: sleep}}}}",
            "spec.taskTemplate is no template of a task: invalid type: string \"sleep\", expected a sequence.",
        ),
        ("spec: {taskTemplate: [a]}", "spec.taskTemplate is no template of a task: it is no object."),
        (
            "spec: {template: {spec: {volumes: [{name: a, emptyDir: {sizeLimit: 1GB}}]}}}",
            "spec.template.spec.volumes[0].emptyDir.sizeLimit: '1GB' is no quantity such as 500m or 1Gi.",
        ),
        (
            "spec: {template: {spec: {overhead: {cpu: [1]}}}}",
            "spec.template.spec.overhead.cpu: '' is no quantity such as 500m or 1Gi.",
        ),
    ] {
        let found = read(text, WorkloadProvider::BatchSandbox).unwrap_err();
        assert_eq!(found, format!("BatchSandbox template file FILE is invalid: {why}"));
    }
    assert!(read("a: [", WorkloadProvider::BatchSandbox).is_err());
    assert!(read("a: 1\n---\nb: 2", WorkloadProvider::BatchSandbox).is_err());
    // Numbers are quantities too.
    batch("spec: {template: {spec: {overhead: {cpu: 1, memory: 1Gi}}}}");
    batch("{}");
}

/// Row "an ordinary template": lists of containers are replaced.
#[test]
fn what_is_in_no_object_is_not_checked() {
    batch("metadata:\nspec:");
    batch("spec: {template: }");
    batch("spec: {taskTemplate: , shardPatches: , shardTaskPatches: }");
    // A patch takes away what it has as null.
    batch("spec: {shardPatches: [{metadata: {labels: {a: }}}, {spec: {containers: [{name: a, $patch: delete}]}}]}");
    batch("spec: {taskTemplate: {spec: {process: {command: [a]}}}, shardTaskPatches: [{spec: {process: }}]}");
    // The cluster looks at the other kind's by itself.
    assert!(read("spec: {shardPatches: x}", WorkloadProvider::AgentSandbox).is_ok());
    batch(
        "spec: {template: {spec: {initContainers: [{name: a, resources: {limits: {cpu: lots}}}], containers: [\
         {name: sandbox, env: [{name: PORT, value: 8080}], resources: {limits: {cpu: lots}}, \
          volumeMounts: [{name: x, mountPath: /x}]}]}}}",
    );
    let text = "spec: {template: {spec: {containers: [{name: sandbox, volumeMounts: [{name: x, mountPath: 5}]}]}}}";
    assert!(read(text, WorkloadProvider::BatchSandbox).unwrap_err().contains("expected a string"));
}

/// Row "maps merge, lists and single values replace, nulls never do".
#[test]
fn what_the_gateway_says_goes_over_the_file() {
    let file = batch(
        "{kind: Other, metadata: {labels: {a: file, b: file}}, spec: {replicas: 7, ttl: 5, expireTime: '2026-01-01T00:00:00Z', \
         template: {spec: {restartPolicy: Never, initContainers: [{name: x}], nodeSelector: {disk: ssd, os: x}}}}}",
    );
    let generated = json!({"kind": "BatchSandbox", "metadata": {"labels": {"a": "own"}, "annotations": null},
        "spec": {"replicas": 1, "template": {"spec": {"initContainers": [{"name": "y"}], "nodeSelector": {"os": "linux"},
            "restartPolicy": null}}}});
    let expected = json!({"kind": "BatchSandbox", "metadata": {"labels": {"a": "own", "b": "file"}},
        "spec": {"replicas": 1, "ttl": 5, "template": {"spec": {"restartPolicy": "Never",
            "initContainers": [{"name": "y"}], "nodeSelector": {"disk": "ssd", "os": "linux"}}}}});
    assert_eq!(file.merged(generated.clone(), false), expected);
    // A sandbox that ends by itself says when.
    let mut ending = generated;
    ending["spec"]["expireTime"] = json!("2027");
    assert_eq!(file.merged(ending, true)["spec"]["expireTime"], "2027");
}

/// Rows "pod volumes are appended" and "what the main container mounts, and its security context".
#[test]
fn volumes_and_the_main_container_are_completed() {
    let file = batch(
        "{spec: {template: {spec: {volumes: [{name: bin, hostPath: {path: /x}}, {name: extra, emptyDir: {}}], containers: [\
         {name: other, env: [{name: A}]}, \
         {name: sandbox, image: ignored, env: [{name: B}], imagePullPolicy: Always, \
          volumeMounts: [{name: extra, mountPath: /extra}, {name: extra, mountPath: /bin}], \
          securityContext: {runAsUser: 1000, seccompProfile: {type: RuntimeDefault}, \
            capabilities: {add: [CHOWN, NET_ADMIN], drop: [ALL]}}}]}}}}",
    );
    assert_eq!(file.volumes().into_iter().collect::<Vec<_>>(), ["bin", "extra"]);
    assert_eq!(file.mount_paths().collect::<Vec<_>>(), ["/extra", "/bin"]);
    let generated = json!({"spec": {"template": {"spec": {
    "volumes": [{"name": "bin", "emptyDir": {}}],
    "containers": [
        {"name": "sandbox", "image": "x", "volumeMounts": [{"name": "bin", "mountPath": "/bin"}],
         "securityContext": {"capabilities": {"drop": ["NET_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}}},
        {"name": "egress"},
    ]}}}});
    let expected = json!({"spec": {"template": {"spec": {
    "volumes": [{"name": "bin", "emptyDir": {}}, {"name": "extra", "emptyDir": {}}],
    "containers": [
        {"name": "sandbox", "image": "x",
         "volumeMounts": [{"name": "bin", "mountPath": "/bin"}, {"name": "extra", "mountPath": "/extra"}],
         "securityContext": {"runAsUser": 1000, "seccompProfile": {"type": "Unconfined"},
            "capabilities": {"add": ["CHOWN"], "drop": ["ALL", "NET_ADMIN"]}}},
        {"name": "egress"},
    ]}}}});
    assert_eq!(file.merged(generated, false), expected);
}

/// Row "imagePullSecrets are replaced when image.auth is given (agent-sandbox appends)".
#[test]
fn pull_secrets_are_replaced_or_added() {
    let secrets = "imagePullSecrets: [{name: regcred}]";
    let file = batch(&format!("{{spec: {{template: {{spec: {{{secrets}}}}}}}}}"));
    let pod = |member: &str, secrets: Value| json!({"spec": {member: {"spec": {"imagePullSecrets": secrets}}}});
    let own = json!([{"name": "own"}]);
    assert_eq!(file.merged(pod("template", own.clone()), false), pod("template", own.clone()));
    assert_eq!(file.merged(pod("template", Value::Null), false), pod("template", json!([{"name": "regcred"}])));
    let file = format!("{{spec: {{podTemplate: {{spec: {{{secrets}}}}}}}}}");
    let file = read(&file, WorkloadProvider::AgentSandbox).unwrap();
    let both = json!([{"name": "regcred"}, {"name": "own"}]);
    assert_eq!(file.merged(pod("podTemplate", own), false), pod("podTemplate", both));
}
