//! Completeness of a structural schema: what alternatives (`anyOf` and the like) constrain must be declared structurally (`apiserver/schema/complete.go`).

use machinery::field::{Error, ErrorList, Path};

use crate::parse::Schema;

pub(super) fn validate(schema: &Schema, path: &Path, errors: &mut ErrorList) {
    value(schema, Some(schema), path, path, errors);
}

fn value(v: &Schema, s: Option<&Schema>, s_path: &Path, v_path: &Path, errors: &mut ErrorList) {
    if let Some(not) = &v.not {
        nested(not, s, s_path, &v_path.child("not"), errors);
    }
    for (name, list) in [("allOf", &v.all_of), ("anyOf", &v.any_of), ("oneOf", &v.one_of)] {
        for (i, inner) in list.iter().enumerate() {
            nested(inner, s, s_path, &v_path.child(name).index(i), errors);
        }
    }
}

fn nested(v: &Schema, s: Option<&Schema>, s_path: &Path, v_path: &Path, errors: &mut ErrorList) {
    let Some(s) = s else {
        return errors.push(Error::required(s_path, format!("because it is defined in {v_path}")));
    };
    value(v, Some(s), s_path, v_path, errors);
    if let Some(item) = v.item() {
        nested(item, s.item(), &s_path.child("items"), &v_path.child("items"), errors);
    }
    for (name, field) in &v.properties {
        let (s_path, v_path) = (s_path.child("properties").key(name), v_path.child("properties").key(name));
        nested(field, s.properties.get(name), &s_path, &v_path, errors);
    }
}
