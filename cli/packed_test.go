//go:build unix

package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
)

// packedChart is a chart as helm packs it, with files of 15 MiB beside its template; they take 15 KB each.
func packedChart(large int) string {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	add := func(name string, text []byte) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
		if err == nil {
			_, err = w.Write(text)
		}
		if err != nil {
			panic(err) // it is memory
		}
	}
	add("api/Chart.yaml", []byte("apiVersion: v2\nname: api\nversion: 1.0.0\n"))
	add("api/values.yaml", []byte("host: false\n"))
	add("api/templates/pod.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: {{ .Values.host }}, containers: []}\n"))
	zeros := make([]byte, 15<<20)
	for i := range large {
		add(fmt.Sprintf("api/files/%d", i), zeros)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	if err := zipped.Close(); err != nil {
		panic(err)
	}
	return out.String()
}
