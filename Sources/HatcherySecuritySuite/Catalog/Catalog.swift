/// Every probe, class after class.
enum Catalog {
    static let all: [Probe] =
        image + descriptors + root + mounts + namespaces + ids + capabilities + setuid + devices + terminal + keyrings
        + processes + peers + sockets + families + kernel + entries + clock + proc + controlGroups + limits + zygote
        + daemon + life + exhaustion
}
