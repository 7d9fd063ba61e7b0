//! What wit-bindgen makes of the WIT. Nothing outside this crate names these types.

#[cfg(target_arch = "wasm32")]
pub(crate) mod imports {
    wit_bindgen::generate!({
        path: ["wit/driver", "wit/kubernetes", "wit/secrets", "wit/postgres", "wit/aws", "wit/terraform"],
        inline: "
            package windlass:sdk-imports;
            world imports {
                import windlass:driver/sealed@0.1.0;
                import windlass:kubernetes/objects@0.1.0;
                import windlass:secrets/generated@0.1.0;
                import windlass:secrets/external@0.1.0;
                import windlass:postgres/databases@0.1.0;
                import windlass:aws/rds@0.1.0;
                import windlass:aws/route53@0.1.0;
                import windlass:terraform/modules@0.1.0;
            }
        ",
        world: "windlass:sdk-imports/imports",
        generate_all,
    });
}

#[cfg(target_arch = "wasm32")]
pub mod resource {
    wit_bindgen::generate!({
        path: ["wit/driver"],
        world: "windlass:driver/resource-driver@0.1.0",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "windlass_sdk::export::resource",
        export_macro_name: "export_resource_component",
    });
}

#[cfg(target_arch = "wasm32")]
pub mod workload {
    wit_bindgen::generate!({
        path: ["wit/driver"],
        world: "windlass:driver/workload-driver@0.1.0",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "windlass_sdk::export::workload",
        export_macro_name: "export_workload_component",
    });
}
