//! `imagelocality/image_locality_test.go`: sizes in MiB are the images' names.

use expect_test::expect;
use k8s_openapi::api::core::v1::Node as ApiNode;
use serde_json::{Value, json};

use super::{World, check, node, pod};
use crate::cache::pod::normalized_image;

/// A node with images, each of as many MiB as its name says.
fn with(name: &str, images: &[i64]) -> ApiNode {
    let image = |size: &i64| json!({"names": [format!("gcr.io/{size}:latest"), format!("gcr.io/{size}:v1")], "sizeBytes": size << 20});
    node(name, json!({"images": images.iter().map(image).collect::<Vec<_>>()}))
}

fn containers(images: &[&str]) -> Value {
    let container = |image: &&str| json!({"name": "c", "image": image});
    images.iter().map(container).collect()
}

#[test]
fn score() {
    let check = |nodes: &[ApiNode], fields: Value, expected| {
        check(World::new("ImageLocality", json!(null)).with(nodes, &[]).score(&pod("p", fields)), expected);
    };
    let of = |images: &[&str]| json!({"containers": containers(images)});
    let two = [with("a", &[40, 300, 2000]), with("b", &[250, 10])];
    // 40 / 2 is less than 23; 100 * (250 / 2 - 23) / (2000 - 23).
    check(&two, of(&["gcr.io/40", "gcr.io/250"]), expect!["a 0, b 5"]);
    check(&two, of(&["gcr.io/40", "gcr.io/300"]), expect!["a 7, b 0"]);
    // Another tag is another name.
    check(&two, of(&["gcr.io/40:v1", "gcr.io/300:v2"]), expect!["a 0, b 0"]);
    check(&two, of(&["unknown"]), expect!["Skip"]);
    let large = [with("a", &[4000, 30]), with("b", &[250, 10])];
    check(&large, of(&["gcr.io/10", "gcr.io/4000"]), expect!["a 100, b 0"]);
    let [a, b] = large;
    check(&[a, b, with("c", &[])], of(&["gcr.io/10", "gcr.io/4000"]), expect!["a 66, b 0, c 0"]);
    check(
        &[with("a", &[600, 40, 900]), with("b", &[300, 600, 900]), with("c", &[])],
        of(&["gcr.io/300", "gcr.io/600", "gcr.io/900"]),
        expect!["a 32, b 36, c 0"],
    );
    check(&[with("a", &[20, 30, 40]), with("b", &[4000, 30])], of(&["gcr.io/30", "gcr.io/40"]), expect!["a 1, b 0"]);
    // An image volume adds to the sum and not to the number of containers; an init container to both.
    check(
        &[with("a", &[300, 600, 900]), with("b", &[4000, 30])],
        json!({
            "containers": containers(&["gcr.io/30"]),
            "volumes": [{"name": "v", "image": {"reference": "gcr.io/300"}}],
        }),
        expect!["a 12, b 0"],
    );
    check(
        &[with("a", &[40, 300, 2000]), with("b", &[20, 30, 40])],
        json!({"containers": containers(&["gcr.io/30"]), "initContainers": containers(&["gcr.io/300"])}),
        expect!["a 6, b 0"],
    );
}

#[test]
fn names_of_images() {
    let digest = format!("root@sha256:{}", "0".repeat(64));
    for (given, expected) in [
        ("root", "root:latest"),
        ("gcr.io:5000/root", "gcr.io:5000/root:latest"),
        ("root:tag", "root:tag"),
        (&*digest, &*digest),
    ] {
        assert_eq!(normalized_image(given), expected);
    }
}
