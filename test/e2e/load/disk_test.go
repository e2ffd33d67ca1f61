package load

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ringfence.dev/ringfence/internal/ringfencetest"
)

const (
	// diskPause is how much longer every write to the disk takes while it is slow, and slowWrites how many must have been: a test in which
	// nothing was slow shows nothing.
	diskPause  = 500 * time.Millisecond
	slowWrites = 10
)

// diskSlow: under load every fsync of Ringfence's takes half a second longer. Nothing is answered wrongly meanwhile, and no record is lost.
func diskSlow(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("a slow disk is made with strace, which is not here")
	}
	c := administrator(t)
	furnish(t, c)
	p := start(t, usual(t))
	inForce(t, c)
	ringfencetest.Eventually(t, "it to be ready", p.ready)

	l, end := underLoad(t, c, &outage{})
	said := filepath.Join(t.TempDir(), "strace")
	slow := exec.Command(strace, "-f", "-qq", "-o", said, "-e", "trace=fsync,fdatasync", "-e", fmt.Sprintf("inject=fsync,fdatasync:delay_exit=%d", diskPause.Microseconds()), "-p", fmt.Sprint(p.cmd.Process.Pid))
	var why bytes.Buffer
	slow.Stderr = &why
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- slow.Wait() }()
	before := l.bad.Load()
	ringfencetest.Eventually(t, "writes to be slow", func() error {
		select {
		case err := <-gone:
			end()
			t.Skipf("strace may not do it here: %v %s", err, &why)
		default:
		}
		text, err := os.ReadFile(said)
		if n := bytes.Count(text, []byte("(DELAYED)")); n < slowWrites {
			return errors.Join(err, fmt.Errorf("%d were", n))
		}
		return nil
	})
	refused := l.bad.Load() - before
	if err := slow.Process.Signal(os.Interrupt); err != nil { // it lets go of Ringfence
		t.Fatal(err)
	}
	<-gone
	end()
	if refused == 0 {
		t.Error("nothing was refused while the disk was slow, so nothing was to be recorded")
	}
	t.Logf("%d requests were refused while every write took %v longer; %s", refused, diskPause, l.percentiles())
	stored(t, p)
}
