// SPDX-License-Identifier: Apache-2.0

// Package e2e drives a server with nats.go: core, and JetStream as far as release 2.9 goes. NATS_URL says where the server is; it is built
// once with go test -c and run by the Python tests.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestCorePublishSubscribe(t *testing.T) {
	nc := connect(t)
	sub := must(nc.SubscribeSync("go.*"))(t)
	for i := 0; i < 5000; i++ {
		if err := nc.Publish("go.x", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < 5000; i++ {
		if msg := must(sub.NextMsg(5 * time.Second))(t); string(msg.Data) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, msg.Data)
		}
	}
}

func TestCoreRequest(t *testing.T) {
	nc := connect(t)
	must(nc.QueueSubscribe("go.service", "q", func(m *nats.Msg) { _ = m.Respond(append([]byte("re:"), m.Data...)) }))(t)
	for i := 0; i < 100; i++ {
		answer := must(nc.Request("go.service", []byte(fmt.Sprint(i)), 5*time.Second))(t)
		if string(answer.Data) != fmt.Sprintf("re:%d", i) {
			t.Fatalf("answer %q", answer.Data)
		}
	}
	if _, err := nc.Request("go.nobody", nil, 5*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("no responders expected, got %v", err)
	}
}

func TestCoreHeadersAndDrain(t *testing.T) {
	nc, other := connect(t), connect(t)
	var got atomic.Int64
	done := make(chan struct{})
	other.SetClosedHandler(func(*nats.Conn) { close(done) })
	must(other.Subscribe("go.drain", func(m *nats.Msg) {
		if m.Header.Get("N") == string(m.Data) {
			got.Add(1)
		}
	}))(t)
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 1000; i++ {
		msg := nats.NewMsg("go.drain")
		msg.Data = []byte(fmt.Sprint(i))
		msg.Header.Set("N", fmt.Sprint(i))
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := other.Drain(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("drain does not end")
	}
	if got.Load() != 1000 {
		t.Fatalf("%d of 1000 messages before the drain ended", got.Load())
	}
}

func stream(t *testing.T, cfg jetstream.StreamConfig) (context.Context, jetstream.JetStream, jetstream.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	js := must(jetstream.New(connect(t)))(t)
	s := must(js.CreateStream(ctx, cfg))(t)
	t.Cleanup(func() {
		_ = js.DeleteStream(ctx, cfg.Name)
		cancel()
	})
	return ctx, js, s
}

func TestJetStreamPublish(t *testing.T) {
	ctx, js, s := stream(t, jetstream.StreamConfig{Name: "GO1", Subjects: []string{"go1.>"}})
	for i := 0; i < 1000; i++ {
		if _, err := js.PublishAsync("go1.a", []byte(fmt.Sprint(i)), jetstream.WithMsgID(fmt.Sprint(i%500))); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		t.Fatal("acknowledgements are missing")
	}
	info := must(s.Info(ctx))(t)
	if info.State.Msgs != 500 || info.State.LastSeq != 500 {
		t.Fatalf("500 messages under different ids expected, the stream says %+v", info.State)
	}
	msg := must(s.GetMsg(ctx, 500))(t)
	if string(msg.Data) != "499" {
		t.Fatalf("the last message is %q", msg.Data)
	}
	_, err := js.Publish(ctx, "go1.a", nil, jetstream.WithExpectLastSequence(1))
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence {
		t.Fatalf("a wrong last sequence was answered with %v", err)
	}
}

func TestJetStreamPullWorkers(t *testing.T) {
	ctx, js, s := stream(t, jetstream.StreamConfig{Name: "GO2", Subjects: []string{"go2.>"}, Retention: jetstream.WorkQueuePolicy})
	const total = 2000
	for i := 0; i < total; i++ {
		must(js.PublishAsync("go2.job", []byte(fmt.Sprint(i))))(t)
	}
	<-js.PublishAsyncComplete()
	cons := must(s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "w", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 500}))(t)
	var seen sync.Map
	var count atomic.Int64
	done := make(chan struct{})
	for worker := 0; worker < 3; worker++ {
		running := must(cons.Consume(func(m jetstream.Msg) {
			if _, twice := seen.LoadOrStore(string(m.Data()), true); twice {
				t.Errorf("message %s came twice", m.Data())
			}
			if err := m.DoubleAck(ctx); err != nil {
				t.Errorf("ack: %v", err)
			}
			if count.Add(1) == total {
				close(done)
			}
		}, jetstream.PullMaxMessages(50)))(t)
		defer running.Stop()
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("%d of %d messages", count.Load(), total)
	}
	if info := must(s.Info(ctx))(t); info.State.Msgs != 0 {
		t.Fatalf("%d messages are left in a work queue whose work is done", info.State.Msgs)
	}
}

func TestJetStreamAckKinds(t *testing.T) {
	ctx, js, s := stream(t, jetstream.StreamConfig{Name: "GO3", Subjects: []string{"go3"}})
	for _, body := range []string{"ack", "nak", "term"} {
		must(js.Publish(ctx, "go3", []byte(body)))(t)
	}
	cons := must(s.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute}))(t)
	var order []string
	for len(order) < 4 {
		batch := must(cons.Fetch(1, jetstream.FetchMaxWait(5*time.Second)))(t)
		n := 0
		for m := range batch.Messages() {
			n++
			order = append(order, string(m.Data()))
			var err error
			switch meta, _ := m.Metadata(); {
			case string(m.Data()) == "term":
				err = m.Term()
			case string(m.Data()) == "nak" && meta.NumDelivered == 1:
				err = m.NakWithDelay(200 * time.Millisecond)
			default:
				err = m.DoubleAck(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n == 0 {
			t.Fatalf("nothing more after %v", order)
		}
	}
	if fmt.Sprint(order) != "[ack nak term nak]" {
		t.Fatalf("delivered %v", order)
	}
	if info := must(cons.Info(ctx))(t); info.NumAckPending != 0 || info.NumPending != 0 {
		t.Fatalf("pending: %+v", info)
	}
}
