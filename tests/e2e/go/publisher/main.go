// SPDX-License-Identifier: Apache-2.0

// Publishes numbered messages to the stream D until the connection is gone, and prints "number sequence" for each one that was acknowledged.
// What the durability test expects of a publisher stands in publisher.py.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const window = 200

type pending struct {
	number int
	ack    jetstream.PubAckFuture
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// printAcks ends the program when an acknowledgement does not come, because the server is gone.
func printAcks(queue chan pending, closed chan bool, out *bufio.Writer) {
	for p := range queue {
		select {
		case ack := <-p.ack.Ok():
			fmt.Fprintln(out, p.number, ack.Sequence)
			if len(queue) == 0 {
				out.Flush()
			}
		case <-p.ack.Err():
			out.Flush()
			os.Exit(0)
		case <-closed:
			out.Flush()
			os.Exit(0)
		}
	}
}

func main() {
	name := os.Args[1]
	number, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fail(err)
	}
	out := bufio.NewWriter(os.Stdout)
	closed := make(chan bool)
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		fail(err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window), jetstream.WithPublishAsyncTimeout(20*time.Second))
	if err != nil {
		fail(err)
	}
	queue := make(chan pending, window)
	go printAcks(queue, closed, out)
	for ; ; number++ {
		id := fmt.Sprintf("%s-%d", name, number)
		body := id + strings.Repeat(".", number*37%700)
		ack, err := js.PublishAsync("d."+name, []byte(body), jetstream.WithMsgID(id), jetstream.WithStallWait(20*time.Second))
		if err != nil {
			select {} // printAcks ends the program once it has printed what was acknowledged before
		}
		queue <- pending{number, ack}
	}
}
