# What the `vault` connection's role needs below the mount `secret`: read and write values, mark them, remove them.
path "secret/data/*" {
  capabilities = ["create", "read", "update"]
}
path "secret/metadata/*" {
  capabilities = ["create", "read", "update", "delete"]
}
