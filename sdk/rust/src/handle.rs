//! The one shape of all handles: imports in Wasm, the recorder of this thread everywhere else.

/// Makes the type behind handles of one resource: `new(name, spec)`, `action()`, `after(action)` and its own methods.
macro_rules! handle {
    ($module:ident, $interface:literal, $resource:literal, $import:path, [$($method:ident = $name:literal $(($argument:ident))?),* $(,)?]) => {
        #[cfg(target_arch = "wasm32")]
        mod $module {
            pub(super) use $import as Handle;
        }

        #[cfg(not(target_arch = "wasm32"))]
        mod $module {
            use crate::recorder::with;

            #[derive(Debug)]
            pub(super) struct Handle(u32);

            impl Handle {
                pub(super) fn new(name: &str, spec: &str) -> Self {
                    Self(with(|recorder| recorder.construct($interface, $resource, name, spec)))
                }

                $(
                    pub(super) fn $method(&self $(, $argument: &str)?) -> String {
                        let argument: Option<&str> = None $(.or(Some($argument)))?;
                        with(|recorder| recorder.method(self.0, $name, argument))
                    }
                )*

                pub(super) fn action(&self) -> String {
                    with(|recorder| recorder.method(self.0, "action", None))
                }

                pub(super) fn after(&self, action: &str) {
                    with(|recorder| recorder.after(self.0, action));
                }
            }
        }
    };
}

/// Makes what every handle can do.
macro_rules! ordered {
    ($($type:ident),*) => {$(
        impl $type {
            /// Yields the action's id inside the node.
            pub fn action(&self) -> String {
                self.0.action()
            }

            /// Orders it behind another action, also of another capability.
            pub fn after(&self, action: &str) {
                self.0.after(action);
            }
        }
    )*};
}

pub(crate) use {handle, ordered};
