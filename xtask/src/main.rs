//! Developer tasks: codegen, tidy, test, bench, image.

fn main() {}
