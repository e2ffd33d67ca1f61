package content_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"ringfence.dev/ringfence/image/content"
)

// file is one entry of a layer.
type file struct{ name, text string }

// packed is a layer and what it unpacks to.
func packed(t testing.TB, kind string, files ...file) (content.Layer, string) {
	t.Helper()
	var plain, out bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o755, Size: int64(len(f.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	switch kind {
	case "gzip":
		z := gzip.NewWriter(&out)
		_, _ = z.Write(plain.Bytes())
		z.Close()
	case "zstd":
		z, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = z.Write(plain.Bytes())
		z.Close()
	default:
		out.Write(plain.Bytes())
	}
	return layer("application/vnd.oci.image.layer.v1.tar+"+kind, out.Bytes()), fmt.Sprintf("sha256:%x", sha256.Sum256(plain.Bytes()))
}

func layer(kind string, text []byte) content.Layer {
	return content.Layer{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(text)), MediaType: kind, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
}

func configuration(t testing.TB, user string, env []string, diffIDs ...string) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"created": "2026-01-02T03:04:05Z", "config": map[string]any{"User": user, "Env": env},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffIDs},
		"history": []map[string]any{{"created": "2025-01-02T03:04:05Z", "created_by": "ADD rootfs"}, {"created": "2026-01-02T03:04:05Z", "empty_layer": true}}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// secret is put together here, so that nothing in this file looks like one.
const secret = "key = AKIA" + "QYLPMN5HHHFPZAM2\n"

func TestLook(t *testing.T) {
	long := strings.Repeat("nothing to see here\n", 120_000) // 2.4 MB: three windows
	base, baseID := packed(t, "gzip", file{"bin/busybox", "\x7fELF\x00"}, file{"./usr/bin/bash", "x"}, file{"sbin/apk", "x"}, file{"etc/passwd", "root:x:0:0::/:\napp:x:10001:10001::/:\n"}, file{"opt/apk", "none"})
	app, appID := packed(t, "zstd", file{"app/.env", "a\n" + secret}, file{"app/long", long + secret}, file{"app/binary", "\x00" + secret})
	top, topID := packed(t, "plain", file{"app/.wh..env", ""}, file{"usr/bin/.wh.bash", ""}, file{"sbin/.wh..wh..opq", ""})
	got, err := content.Look(t.Context(), configuration(t, "app", []string{"X=" + secret}, baseID, appID, topID), map[string]string{"org.opencontainers.image.base.name": "alpine:3"},
		[]content.Layer{base, app, top}, content.Bounds{})
	if err != nil {
		t.Fatal(err)
	}
	want := content.Content{User: "app", Shells: []string{"/bin/busybox"}, PackageManagers: []string{}, Base: "alpine:3",
		BaseCreated: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Files: 11,
		Secrets: []content.Secret{{Layer: app.Digest, Path: "app/.env", Rule: "aws-access-token", Line: 2}, {Layer: app.Digest, Path: "app/long", Rule: "aws-access-token", Line: 120_001},
			{Layer: "config", Path: "config", Rule: "aws-access-token", Line: 1}}}
	got.Bytes = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Look: %s", diff)
	}
	for user, root := range map[string]bool{"": true, "root": true, "0": true, "0:5": true, "app": false, "10001": false, "app:root": false} {
		got, err := content.Look(t.Context(), configuration(t, user, nil, baseID), nil, []content.Layer{base}, content.Bounds{})
		if err != nil || got.Root != root {
			t.Errorf("user %q: root %t, want %t (%v)", user, got.Root, root, err)
		}
	}
	bare, bareID := packed(t, "gzip", file{"app/api", "x"})
	if got, err := content.Look(t.Context(), configuration(t, "1", nil, bareID), nil, []content.Layer{bare}, content.Bounds{}); err != nil || !got.Distroless {
		t.Errorf("distroless %t, %v", got.Distroless, err)
	}
}

// TestHostile: layers that are bombs, lie or cannot be read are refused, in bounded time and memory.
func TestHostile(t *testing.T) {
	var bomb bytes.Buffer
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: 256 << 20, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, 256<<20); err != nil {
		t.Fatal(err)
	}
	w.Close()
	z.Close()
	good, goodID := packed(t, "gzip", file{"a", "a"})
	var many []file
	for n := range 200 {
		many = append(many, file{fmt.Sprint(n), ""})
	}
	crowd, crowdID := packed(t, "gzip", many...)
	for what, c := range map[string]struct {
		layers []content.Layer
		ids    []string
		wanted error
		words  string
	}{
		"a bomb":                {[]content.Layer{layer("tar+gzip", bomb.Bytes())}, []string{goodID}, content.ErrTooLarge, "33554432 bytes"},
		"too many files":        {[]content.Layer{crowd}, []string{crowdID}, content.ErrTooLarge, "100 files"},
		"not what is said":      {[]content.Layer{good}, []string{crowdID}, nil, "its configuration says"},
		"more layers than said": {[]content.Layer{good, good}, []string{goodID}, nil, "speaks of 1"},
		"no archive":            {[]content.Layer{layer("tar+gzip", []byte("hello"))}, []string{goodID}, nil, "gzip"},
		"cut off":               {[]content.Layer{layer("tar+gzip", bomb.Bytes()[:100])}, []string{goodID}, nil, "layer"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := content.Look(t.Context(), configuration(t, "1", nil, c.ids...), nil, c.layers, content.Bounds{Bytes: 32 << 20, Files: 100})
			if err == nil || c.wanted != nil && !errors.Is(err, c.wanted) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("Look: %v, want %q", err, c.words)
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := content.Look(ended, configuration(t, "1", nil, goodID), nil, []content.Layer{good}, content.Bounds{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Look after its context ended: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzLook: no layer and no configuration makes Look fail otherwise than by its error.
func FuzzLook(f *testing.F) {
	good, id := packed(f, "plain", file{"bin/sh", "x"}, file{"etc/.wh.x", ""})
	r, err := good.Open()
	if err != nil {
		f.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(configuration(f, "app", nil, id), text, "tar")
	f.Add([]byte("{}"), text, "tar+gzip")
	f.Fuzz(func(t *testing.T, config, text []byte, kind string) {
		_, _ = content.Look(t.Context(), config, nil, []content.Layer{layer(kind, text)}, content.Bounds{Bytes: 1 << 20, Files: 100})
	})
}
