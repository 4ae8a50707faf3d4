//! Kind-agnostic machinery: GVK, metadata, selectors, Quantity, field paths, Status, patches, codecs. No IO.
