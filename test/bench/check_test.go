package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// BenchmarkCheck is whole `ringfence check` processes over generated workloads, in one file and in a file each, beside
// sigs.k8s.io/yaml reading the same bytes into maps in the same run. Time is CPU time, of user and system.
func BenchmarkCheck(b *testing.B) {
	bin := binary(b)
	for _, n := range []int{100, 1000, 10_000} {
		docs := workloads(n)
		one := filepath.Join(b.TempDir(), "all.yaml")
		write(b, one, bytes.Join(docs, []byte("---\n")))
		many := b.TempDir()
		for i, doc := range docs {
			write(b, filepath.Join(many, fmt.Sprintf("%05d.yaml", i)), doc)
		}
		platform := filepath.Join(b.TempDir(), "platform.yaml")
		write(b, platform, []byte(checkPlatform))
		for name, path := range map[string]string{"one-file": one, "many-files": many} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				var check, decode []time.Duration
				var rss int64
				for b.Loop() {
					used, most := process(b, bin, "check", "-o", "json", "--platform", platform, path)
					check, rss = append(check, used), max(rss, most)
					decode = append(decode, decodeAll(b, docs))
				}
				own, base := median(check), median(decode)
				b.ReportMetric(own.Seconds()/base.Seconds(), "x-yaml")
				b.ReportMetric(own.Seconds()*1e6/float64(n), "cpu-µs/object")
				b.ReportMetric(base.Seconds()*1e6/float64(n), "yaml-µs/object")
				b.ReportMetric(float64(n)/own.Seconds(), "objects/cpu-s")
				b.ReportMetric(float64(rss)/1024, "peak-MB")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkStartup is the time from the start of `ringfence check` to its verdict on one Pod, beside `ringfence version`.
func BenchmarkStartup(b *testing.B) {
	bin := binary(b)
	file := filepath.Join("..", "..", "policy", "cel", "testdata", "good-pod.yaml")
	var check, version []time.Duration
	for b.Loop() {
		start := time.Now()
		process(b, bin, "check", file)
		check = append(check, time.Since(start))
		start = time.Now()
		process(b, bin, "version")
		version = append(version, time.Since(start))
	}
	b.ReportMetric(float64(median(check).Microseconds())/1000, "check-ms")
	b.ReportMetric(float64(median(version).Microseconds())/1000, "version-ms")
	b.ReportMetric(0, "ns/op")
}

// binary is bin/ringfence, which `make bench` builds.
func binary(b *testing.B) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "bin", "ringfence"))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Skip("bin/ringfence is not built; run: make build")
	}
	return path
}

// process runs the program to its end and gives its CPU time and its peak memory in KiB. That it refuses is expected.
func process(b *testing.B, bin string, args ...string) (used time.Duration, peak int64) {
	cmd := exec.Command(bin, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		b.Fatalf("%s: %v\n%.2000s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss
}

// decodeAll is the CPU time of this process for reading the documents into maps.
func decodeAll(b *testing.B, docs [][]byte) time.Duration {
	before := ownTime(b)
	for _, doc := range docs {
		var into map[string]any
		if err := yaml.Unmarshal(doc, &into); err != nil {
			b.Fatal(err)
		}
	}
	return ownTime(b) - before
}

func ownTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

func write(b *testing.B, path string, text []byte) {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
}

const checkPlatform = `apiVersion: ringfence.dev/v1alpha1
kind: Platform
metadata: {name: platform}
spec: {profile: strict, registries: [registry.bank.example]}
`

// workloads are n generated workloads of about 2.5 KB: one in three breaks several rules.
func workloads(n int) [][]byte {
	kinds := []string{"Deployment", "StatefulSet", "Deployment", "DaemonSet"}
	docs := make([][]byte, n)
	for i := range docs {
		registry, security, resources, rootless := "registry.bank.example/payments", goodSecurity, goodResources, true
		if i%3 == 0 {
			registry, security, rootless = "docker.io/library", " {privileged: true}", false
			if i%2 == 0 {
				resources = " {}"
			}
		}
		containers := fmt.Sprintf(containerText, "service", registry, i, security, resources) + fmt.Sprintf(containerText, "proxy", registry, i, security, resources)
		docs[i] = fmt.Appendf(nil, workloadText, kinds[i%len(kinds)], i, i, rootless, containers, i)
		if kinds[i%len(kinds)] == "DaemonSet" { // which has one on each node
			docs[i] = bytes.Replace(docs[i], []byte("  replicas: 3\n"), nil, 1)
		}
	}
	return docs
}

const workloadText = `apiVersion: apps/v1
kind: %s
metadata:
  name: service-%05d
  namespace: payments-dev
  labels:
    app.kubernetes.io/part-of: payments
    cost-centre: "4711"
  annotations:
    bank.example/manager: Jo Doe
spec:
  replicas: 3
  selector:
    matchLabels:
      app: service-%05d
  template:
    metadata:
      labels:
        app.kubernetes.io/part-of: payments
    spec:
      serviceAccountName: service
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: %t
        runAsUser: 10001
        fsGroup: 10001
      containers:
%s      volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
      - name: config
        configMap:
          name: service-%05d
`

const containerText = `      - name: %s
        image: %s/service@sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
        args:
        - --database=db-%d.payments.bank.example:5432
        env:
        - name: LOG_LEVEL
          value: info
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        ports:
        - name: https
          containerPort: 8443
          protocol: TCP
        livenessProbe:
          httpGet:
            path: /healthz
            port: https
        securityContext:%s
        resources:%s
        volumeMounts:
        - name: tmp
          mountPath: /tmp
        - name: config
          mountPath: /etc/config
          readOnly: true
`

const goodSecurity = `
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          capabilities:
            drop:
            - ALL`

const goodResources = `
          requests:
            cpu: 100m
            memory: 128Mi
          limits:
            cpu: 500m
            memory: 256Mi`
