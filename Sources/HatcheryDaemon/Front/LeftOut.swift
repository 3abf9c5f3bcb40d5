import HatcheryProtocol

#if HATCHERY_TESTING
    /// Layers that a test leaves out. In a production build there is no such thing: Admission refuses the request by name.
    enum LeftOut {
        /// What cannot stand without a layer, because the kernel grants it only behind that one.
        private static let needs: [(layer: Layer, without: [Layer])] = [
            // Every other namespace, and every right to give up, is the user namespace's.
            (
                .userns,
                [
                    .pidns, .mountns, .netns, .ipcns, .utsns, .cgroupns, .idmap, .distinctUID, .caps, .securebits,
                ]
            ),
            (.mountns, [.root]),
            (.root, [.proc]),
            // A fresh /proc belongs to a pid namespace of one's own.
            (.pidns, [.proc]),
            // An unprivileged process restricts itself only where it can gain nothing by execve.
            (.noNewPrivs, [.seccomp, .landlock]),
        ]

        /// The request with what goes with the layers that it leaves out.
        static func applied(to request: SpawnRequest) -> SpawnRequest {
            var request = request
            for (layer, dependents) in needs where request.without.contains(layer) {
                for dependent in dependents { request.without.insert(dependent) }
            }
            return request
        }
    }
#endif
