package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start runs pkcs11-tool on a terminal of its own, and types the PIN once it has switched the echo off, which is when it asks.
// said is what it told people.
func start(ctx context.Context, args []string, input, pin []byte) (out, said []byte, err error) {
	master, slave, err := openTerminal()
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal for the PIN: %w", err)
	}
	defer master.Close()
	defer slave.Close()
	in, inEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer in.Close()
	_, err = inEnd.Write(input) // at most maxMessage, which a pipe holds
	outEnd, outStart, pipeErr := os.Pipe()
	if err := errors.Join(err, inEnd.Close(), pipeErr); err != nil {
		return nil, nil, err
	}
	defer outEnd.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	var faults bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, &faults
	cmd.ExtraFiles = []*os.File{in, outStart}
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = time.Second
	if err := errors.Join(cmd.Start(), outStart.Close()); err != nil {
		return nil, nil, err
	}
	typing, stop := context.WithCancel(ctx)
	typed := make(chan struct{})
	go func() { defer close(typed); typePIN(typing, master, pin) }()
	out, readErr := io.ReadAll(io.LimitReader(outEnd, maxAnswer))
	err = errors.Join(cmd.Wait(), readErr)
	stop()
	<-typed
	return out, faults.Bytes(), err
}

// typePIN waits until the echo is off and types the PIN, once.
func typePIN(ctx context.Context, master *os.File, pin []byte) {
	for {
		settings, err := unix.IoctlGetTermios(int(master.Fd()), unix.TCGETS)
		if err != nil {
			return
		}
		if settings.Lflag&unix.ECHO == 0 {
			_, _ = master.Write(append(bytes.Clone(pin), '\n')) // what does not arrive is told by the program
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// openTerminal makes a pseudoterminal. Nobody reads what the program writes there: some
// bytes, and a program that wrote more than a terminal holds would be ended by its deadline.
func openTerminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}
