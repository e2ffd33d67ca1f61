package podsecurity

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"ringfence.dev/ringfence/control"
)

type object = map[string]any

// absent leaves a field out; nil writes null.
type absent struct{}

// field is one that some check reads, with values that every check lets pass and values near them that some check does not.
type field struct {
	name      string
	good, bad []any
}

// profileTypes are the values of seccompProfile and appArmorProfile, present.
var (
	goodProfiles = []any{object{"type": "RuntimeDefault"}, object{"type": "Localhost", "localhostProfile": "api.json"}}
	badProfiles  = []any{object{"type": "Unconfined"}, object{}, object{"type": ""}, object{"type": nil}, object{"type": "runtimedefault"}, object{"type": "runtime/default"}}
)

var windowsOptions = field{"windowsOptions",
	[]any{absent{}, nil, object{}, object{"hostProcess": false}, object{"hostProcess": nil}, object{"runAsUserName": "ContainerUser"}},
	[]any{object{"hostProcess": true}, object{"hostProcess": true, "runAsUserName": "ContainerUser"}}}

var seLinuxOptions = field{"seLinuxOptions",
	[]any{absent{}, nil, object{}, object{"type": "container_t"}, object{"type": "container_init_t", "level": "s0:c1"}, object{"type": "container_kvm_t", "user": nil}, object{"type": "container_engine_t"},
		object{"type": "", "user": "", "role": ""}, object{"type": nil, "level": "s0"}},
	[]any{object{"type": "spc_t"}, object{"user": "system_u"}, object{"role": "system_r"}, object{"type": "container_t", "user": "u"}, object{"type": "Container_t"}, object{"type": " "}, object{"user": "", "role": " "}}}

var appArmorProfile = field{"appArmorProfile", slices.Concat([]any{absent{}, nil}, goodProfiles), badProfiles}

// flag is a boolean that must not be true.
func flag(name string) field { return field{name, []any{absent{}, nil, false}, []any{true}} }

// user is a user id that must not be 0.
var user = field{"runAsUser", []any{absent{}, nil, 1, 10001}, []any{0}}

// said are the fields that may be said at the pod or at every container: the good values of the place that says it, and
// those of the other place, where silence is good too.
func said(name string, here bool, good, bad []any) field {
	silence := []any{absent{}, nil}
	if here {
		return field{name, good, slices.Concat(silence, bad)}
	}
	return field{name, slices.Concat(silence, good), bad}
}

// podSecurity and containerSecurity are the fields of the two security contexts, where the pod says what can be said at
// either place and where the containers do.
var (
	podSecurity       = map[bool][]field{true: podContext(true), false: podContext(false)}
	containerSecurity = map[bool][]field{true: containerContext(true), false: containerContext(false)}
)

func podContext(atPod bool) []field {
	return []field{
		windowsOptions, seLinuxOptions, appArmorProfile, user,
		said("runAsNonRoot", atPod, []any{true}, []any{false}),
		said("seccompProfile", atPod, goodProfiles, badProfiles),
		{"supplementalGroups", []any{absent{}, []any{1}}, nil},
	}
}

func containerContext(atPod bool) []field {
	return []field{
		windowsOptions, seLinuxOptions, appArmorProfile, user, flag("privileged"),
		said("runAsNonRoot", !atPod, []any{true}, []any{false}),
		said("seccompProfile", !atPod, goodProfiles, badProfiles),
		{"allowPrivilegeEscalation", []any{false}, []any{absent{}, nil, true}},
		{"procMount", []any{absent{}, nil, "Default"}, []any{"Unmasked", "", "default"}},
		{"readOnlyRootFilesystem", []any{absent{}, true}, nil},
		{"capabilities",
			[]any{object{"drop": []any{"ALL"}}, object{"drop": []any{"NET_RAW", "ALL"}, "add": nil}, object{"drop": []any{"ALL"}, "add": []any{}}, object{"drop": []any{"ALL", "ALL"}, "add": []any{"NET_BIND_SERVICE"}}},
			[]any{absent{}, nil, object{}, object{"drop": nil}, object{"drop": []any{}}, object{"drop": []any{"all"}}, object{"drop": []any{"NET_RAW"}}, object{"add": []any{"NET_BIND_SERVICE"}},
				object{"drop": []any{"ALL"}, "add": []any{"CHOWN"}}, object{"drop": []any{"ALL"}, "add": []any{"NET_BIND_SERVICE", "NET_ADMIN"}}, object{"drop": []any{"ALL"}, "add": []any{"ALL"}},
				object{"drop": []any{"ALL"}, "add": []any{"net_bind_service"}}, object{"drop": []any{"ALL"}, "add": []any{"CAP_NET_BIND_SERVICE"}}, object{"drop": []any{"ALL"}, "add": []any{""}},
				object{"add": []any{"AUDIT_WRITE", "KILL", "MKNOD", "SETFCAP"}}, object{"add": []any{"DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}}, object{"add": []any{"NET_RAW"}}}},
	}
}

// handler is a probe or a hook.
func handler(name string) field {
	return field{name,
		[]any{absent{}, nil, object{}, object{"httpGet": object{"port": 80}}, object{"httpGet": object{"port": 80, "host": ""}}, object{"httpGet": object{"port": 80, "host": nil, "httpHeaders": []any{object{"name": "Host", "value": "x"}}}},
			object{"tcpSocket": object{"port": 80}}, object{"tcpSocket": nil}, object{"exec": object{"command": []any{"x"}}}},
		[]any{object{"httpGet": object{"port": 80, "host": "127.0.0.1"}}, object{"tcpSocket": object{"port": "http", "host": "a"}}, object{"httpGet": object{"port": 80}, "tcpSocket": object{"port": 80, "host": " "}}}}
}

var containerFields = []field{
	handler("livenessProbe"), handler("readinessProbe"), handler("startupProbe"),
	{"ports",
		[]any{absent{}, nil, []any{}, []any{object{"containerPort": 80}}, []any{object{"containerPort": 80, "hostPort": 0}, object{"containerPort": 81, "hostPort": nil}}},
		[]any{[]any{object{"containerPort": 80, "hostPort": 80}}, []any{object{"containerPort": 80}, object{"containerPort": 81, "hostPort": 65535}}, []any{object{"containerPort": 80, "hostPort": -1}}}},
}

var hooks = []field{handler("postStart"), handler("preStop")}

var podFields = []field{flag("hostNetwork"), flag("hostPID"), flag("hostIPC")}

// The types of volumes.
var (
	goodVolumes = []string{"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}
	badVolumes  = []string{"hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd", "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile",
		"vsphereVolume", "quobyte", "azureDisk", "portworxVolume", "photonPersistentDisk", "scaleIO", "storageos"}
)

var (
	goodSysctls = []string{"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
		"net.ipv4.tcp_wmem", "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat"}
	badSysctls = []string{"kernel.msgmax", "net.core.somaxconn", "", "kernel/shm_rmid_forced", "net.ipv4.tcp_syncookies ", "net.ipv4.tcp_mem", "net.ipv6.ip_local_port_range"}
)

var (
	goodAnnotations = []any{"runtime/default", "localhost/api", "localhost/", ""}
	badAnnotations  = []any{"unconfined", "docker/default", "localhost", " ", "runtime/default "}
)

// generator makes one pod. Each field gets a bad value with the probability risk, so that most pods are one field away
// from a boundary, on either side.
type generator struct {
	*rand.Rand
	risk float64
}

func (g generator) bad() bool { return g.Float64() < g.risk }

func one[T any](g generator, of []T) T { return of[g.IntN(len(of))] }

// fill sets fields.
func (g generator) fill(o object, fields []field) object {
	for _, f := range fields {
		from := f.good
		if len(f.bad) > 0 && g.bad() {
			from = f.bad
		}
		if v := one(g, from); v != (any)(absent{}) {
			o[f.name] = v
		}
	}
	return o
}

// attach puts a struct into o; one without fields is sometimes null, sometimes left out.
func (g generator) attach(o object, name string, v object) {
	if len(v) > 0 || g.IntN(3) == 0 {
		o[name] = v
	} else if g.IntN(2) == 0 {
		o[name] = nil
	}
}

// pod is the i-th pod: metadata and spec. The same i gives the same pod.
func pod(i int) (metadata, spec object) {
	g := generator{rand.New(rand.NewPCG(20261121, uint64(i))), 0}
	g.risk = one(g, []float64{0, 0.005, 0.01, 0.02, 0.05, 0.3})
	atPod := g.IntN(3) > 0
	spec = g.fill(object{}, podFields)
	g.attach(spec, "securityContext", g.sysctls(g.fill(object{}, podSecurity[atPod])))
	g.fill(spec, []field{
		{"hostUsers", []any{absent{}, absent{}, nil, true, false}, nil},
		{"os", []any{absent{}, absent{}, nil, object{}, object{"name": nil}, object{"name": "linux"}, object{"name": "windows"}, object{"name": "windows"}}, []any{object{"name": "Windows"}}},
	})
	var names []string
	for _, list := range []struct {
		name        string
		least, most int
	}{{"containers", 1, 2}, {"initContainers", 0, 2}, {"ephemeralContainers", 0, 1}} {
		var all []any
		for range list.least + g.IntN(list.most-list.least+1) {
			c := g.container(atPod)
			c["name"] = fmt.Sprintf("c%d", len(names))
			names = append(names, c["name"].(string))
			all = append(all, c)
		}
		if len(all) > 0 {
			spec[list.name] = all
		}
	}
	if volumes := g.volumes(); len(volumes) > 0 {
		spec["volumes"] = volumes
	}
	if o, _ := spec["os"].(object); o["name"] == "windows" && g.IntN(5) > 0 {
		stripForWindows(spec)
	}
	return g.metadata(names), spec
}

func (g generator) container(atPod bool) object {
	c := g.fill(object{"image": "registry.bank.example/api:1"}, containerFields)
	g.attach(c, "securityContext", g.fill(object{}, containerSecurity[atPod]))
	g.attach(c, "lifecycle", g.fill(object{}, hooks))
	return c
}

func (g generator) sysctls(security object) object {
	if g.IntN(4) > 0 && !g.bad() {
		return security
	}
	all := []any{}
	for range g.IntN(4) {
		name := one(g, goodSysctls)
		if g.bad() {
			name = one(g, badSysctls)
		}
		all = append(all, object{"name": name, "value": "1"})
	}
	security["sysctls"] = all
	return security
}

// volumes are of one type each, or of none; a few are of two, which the API server refuses.
func (g generator) volumes() (all []any) {
	for n := range g.IntN(4) {
		v := object{"name": fmt.Sprintf("v%d", n)}
		if g.IntN(8) > 0 {
			v[one(g, goodVolumes)] = object{}
		}
		//lint:ignore SA4000 each asks anew: twice as likely
		if g.bad() || g.bad() {
			clear(v)
			v["name"], v[one(g, badVolumes)] = fmt.Sprintf("v%d", n), object{}
		}
		if g.IntN(4) == 0 {
			v[one(g, badVolumes)] = nil
		}
		if g.IntN(60) == 0 {
			v[one(g, slices.Concat(goodVolumes, badVolumes))] = object{}
		}
		all = append(all, v)
	}
	return all
}

func (g generator) metadata(names []string) object {
	m := object{"name": "api", "labels": object{"app": "api"}}
	if g.IntN(3) > 0 && !g.bad() {
		return m
	}
	a := object{"example.com/apparmor": "unconfined"}
	for _, name := range append(names, "other") {
		if g.IntN(3) == 0 {
			value := one(g, goodAnnotations)
			if g.bad() {
				value = one(g, badAnnotations)
			}
			a["container.apparmor.security.beta.kubernetes.io/"+name] = value
			a["container.seccomp.security.alpha.kubernetes.io/"+name] = "unconfined" // read by no supported server
		}
	}
	m["annotations"] = a
	return m
}

// stripForWindows takes away what the API server does not let a pod for Windows have; see refused.
func stripForWindows(spec object) {
	for _, name := range []string{"hostUsers", "hostPID", "hostIPC"} {
		delete(spec, name)
	}
	security := []any{spec["securityContext"]}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		all, _ := spec[list].([]any)
		for _, c := range all {
			security = append(security, c.(object)["securityContext"])
		}
	}
	for _, s := range security {
		s, _ := s.(object)
		for _, name := range []string{"appArmorProfile", "seLinuxOptions", "seccompProfile", "sysctls", "runAsUser", "supplementalGroups", "capabilities", "privileged", "allowPrivilegeEscalation", "procMount", "readOnlyRootFilesystem"} {
			delete(s, name)
		}
	}
}

// wrappers put a pod into each kind of workload.
var wrappers = map[string]func(metadata, spec object) object{
	"Pod":         func(metadata, spec object) object { return object{"metadata": metadata, "spec": spec} },
	"PodTemplate": func(metadata, spec object) object { return object{"template": template(metadata, spec)} },
	"CronJob": func(metadata, spec object) object {
		return object{"spec": object{"jobTemplate": object{"spec": object{"template": template(metadata, spec)}}}}
	},
	"ReplicationController": inSpec, "Deployment": inSpec, "StatefulSet": inSpec, "DaemonSet": inSpec, "ReplicaSet": inSpec, "Job": inSpec,
}

func template(metadata, spec object) object {
	return object{"metadata": metadata, "spec": spec}
}

func inSpec(metadata, spec object) object {
	return object{"spec": object{"template": template(metadata, spec)}}
}

// workload is a pod inside an object of the kind.
func workload(k control.Kind, metadata, spec object) object {
	o := wrappers[k.Kind](metadata, spec)
	o["apiVersion"], o["kind"] = "v1", k.Kind
	if k.APIGroup != "" {
		o["apiVersion"] = k.APIGroup + "/v1"
	}
	if o["metadata"] == nil {
		o["metadata"] = object{"name": "api"}
	}
	return o
}

// stored is a value as package manifest would read it: without nulls, with integers of 64 bits.
func stored(v any) any {
	switch v := v.(type) {
	case object:
		out := make(object, len(v))
		for name, field := range v {
			if field != nil {
				out[name] = stored(field)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = stored(v[i])
		}
		return out
	case int:
		return int64(v)
	}
	return v
}
