// The units that are the same on every host and for every cluster: `Units/` in the source tree holds what this renders. The
// instance of a template is the cluster's name; what differs between clusters is in drop-ins, see HostFiles.
//
// Hardening: the server needs its folder, the network and nothing else of the machine. Each directive that is not obvious
// says why it is there or why it is not.

package enum UnitFiles {
    /// Path below the unit folders of a package, and text.
    package static let all: [RenderedFile] = [
        RenderedFile(path: "systemd/covey-server@.service", text: server),
        RenderedFile(path: "systemd/covey-agent.service", text: agent),
        RenderedFile(path: "systemd/covey-health@.service", text: health),
        RenderedFile(path: "systemd/covey-health@.timer", text: healthTimer),
        RenderedFile(path: "systemd/covey.slice", text: slice),
        RenderedFile(path: "sysusers.d/covey.conf", text: users),
        RenderedFile(path: "tmpfiles.d/covey.conf", text: folders),
    ]

    static let server = """
        # One member of a key-value cluster; the instance is the cluster's name.
        [Unit]
        Description=Key-value server, cluster %i
        Documentation=man:covey-server(8)
        Wants=network-online.target time-sync.target
        After=network-online.target time-sync.target
        # A member that cannot start is tried again for ever: the cluster waits for it.
        StartLimitIntervalSec=0
        AssertPathExists=/etc/covey/%i/server.yaml

        [Service]
        Type=notify
        NotifyAccess=main
        ExecStart=/usr/bin/covey server --config-file=/etc/covey/%i/server.yaml
        User=covey
        Group=covey
        Slice=covey.slice
        StateDirectory=covey/%i
        StateDirectoryMode=0700
        UMask=0077
        # It says READY when it serves, which after a long absence takes as long as catching up takes.
        TimeoutStartSec=infinity
        TimeoutStopSec=90
        Restart=on-failure
        RestartSec=5
        # A member that was removed from its cluster ends with 0, also before it is ready; then it must stay away.
        RestartPreventExitStatus=0
        # A member whose loop stands still serves nobody and holds its clients: the cluster is better off without it.
        WatchdogSec=60
        TimeoutAbortSec=10
        OOMScoreAdjust=-900
        CPUWeight=1000
        IOWeight=1000
        LimitCORE=0

        \(hardening)
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        PrivateUsers=yes
        ProcSubset=pid
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged @resources

        [Install]
        WantedBy=multi-user.target

        """

    static let agent = """
        # The daemon that keeps this host as its clusters' inventories want it.
        [Unit]
        Description=Covey cluster agent
        Documentation=man:covey-agent(8)
        Wants=network-online.target
        After=network-online.target
        StartLimitIntervalSec=0

        [Service]
        Type=notify
        NotifyAccess=main
        ExecStart=/usr/bin/covey agent
        # Root, because it starts units and gives files to the server's user; of root's powers it keeps three: to give files
        # away, to look at data of that user and set it aside, and to change modes.
        User=root
        # Servers are in units of their own: when the agent ends or is replaced they go on.
        KillMode=process
        Slice=covey.slice
        StateDirectory=covey-agent
        StateDirectoryMode=0700
        UMask=0022
        ReadWritePaths=/etc/covey /var/lib/covey -/etc/systemd/system -/etc/tmpfiles.d
        WatchdogSec=60
        Restart=on-failure
        RestartSec=5
        OOMScoreAdjust=-500
        # What it has to read and compare can wait; the member's clients cannot.
        Nice=5
        CPUWeight=50
        IOWeight=50
        MemoryMax=256M
        LimitCORE=0
        # Swift's threads ask for priorities the filter below refuses, and would say so each time.
        Environment=LIBDISPATCH_LOG=NO

        \(hardening)
        CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged @resources
        SystemCallFilter=@chown

        [Install]
        WantedBy=multi-user.target

        """

    static let health = """
        # Fails while the cluster is not healthy, so that what watches failed units sees it.
        [Unit]
        Description=Health of cluster %i
        Documentation=man:covey-status(1)
        After=covey-server@%i.service
        ConditionPathExists=/etc/covey/%i/cluster.yaml

        [Service]
        Type=oneshot
        ExecStart=/usr/bin/covey status /etc/covey/%i/cluster.yaml
        # Healthy, but the inventory has changed: no alarm.
        SuccessExitStatus=10
        User=covey
        Group=covey
        Slice=covey.slice
        UMask=0077
        TimeoutStartSec=30
        LimitCORE=0
        Nice=5
        CPUWeight=50
        MemoryMax=128M
        Environment=LIBDISPATCH_LOG=NO

        \(hardening)
        RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
        PrivateUsers=yes
        ProcSubset=pid
        SystemCallFilter=@system-service
        SystemCallFilter=~@privileged @resources

        """

    static let healthTimer = """
        [Unit]
        Description=Look at the health of cluster %i
        Documentation=man:covey-status(1)

        [Timer]
        OnActiveSec=60
        OnUnitActiveSec=60
        # Hosts do not all ask in the same second.
        RandomizedDelaySec=10
        AccuracySec=1

        [Install]
        WantedBy=timers.target

        """

    static let slice = """
        # Everything of Covey: its servers before other programs when the machine is short of something.
        [Unit]
        Description=Key-value clusters
        Before=slices.target

        [Slice]
        CPUWeight=500
        IOWeight=500

        """

    static let users = """
        # The server owns its data and may not change the agent's orders.
        u covey - "Covey server" /var/lib/covey

        """

    static let folders = """
        d /etc/covey 0750 root covey -
        d /var/lib/covey 0711 root root -
        d /var/lib/covey-agent 0700 root root -

        """

    private static let hardening = """
        NoNewPrivileges=yes
        CapabilityBoundingSet=
        AmbientCapabilities=
        ProtectSystem=strict
        ProtectHome=yes
        PrivateTmp=yes
        PrivateDevices=yes
        DevicePolicy=closed
        ProtectHostname=yes
        ProtectClock=yes
        ProtectKernelTunables=yes
        ProtectKernelModules=yes
        ProtectKernelLogs=yes
        ProtectControlGroups=yes
        ProtectProc=invisible
        RestrictNamespaces=yes
        RestrictRealtime=yes
        RestrictSUIDSGID=yes
        LockPersonality=yes
        MemoryDenyWriteExecute=yes
        RemoveIPC=yes
        SystemCallArchitectures=native
        SystemCallErrorNumber=EPERM
        """
}
