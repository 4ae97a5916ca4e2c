/**
 * injector.mjs INTERFACE BUS LINK PEERBUS PEERLINK: sends the frames that come over stdin, batch by batch, out of INTERFACE to the
 * daemon on BUS, which sees them on LINK. The next batch goes when the daemon's own counters say that it has taken the last, so
 * none waits long and the daemon has answered a call over D-Bus between any two batches.
 *
 * A batch: octets in all (u32), frames (u32), and for each: length (u16), of whom the sequence number is taken (u8: 0 no one,
 * 1 request, 2 ack), how much more (i8), where it stands (u16), octets. Answered with a line of JSON each.
 */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '../../dist/src/dbus/connection.js';
import { PacketSocket } from '../../dist/src/raw-socket/index.js';

const [name, bus, link, peerBus, peerLink] = process.argv.slice(2);
/** Milliseconds: of a daemon that is alive, much longer than any answer takes. */
const DEADLINE = 20_000;
/** Frames the daemon has not counted after this have been lost on their way to it. */
const LOST_AFTER = 1_000;
const BURST = 32;
/** Told at the end of stdin: the last frames as they were sent. */
const KEPT = 256;
const last = [];

const live = { 1: 0, 2: 0 };
const socket = new PacketSocket({
  interfaceIndex: Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8')),
  onFrames(frames) {
    for (const { octets } of frames) listen(octets);
  },
  onError(error) {
    throw error;
  },
});

/** What the target says itself, and acknowledges. */
function listen(octets) {
  const etherType = (octets[12] << 8) | octets[13];
  if (etherType === 0x8940 && octets.length >= 18) {
    live[(octets[14] & 0x0c) === 0x04 ? 2 : 1] = (octets[16] << 8) | octets[17];
  } else if (etherType === 0x88b7 && octets.length >= 23) {
    live[octets[20] === 1 ? 2 : 1] = (octets[21] << 8) | octets[22];
  }
}

const target = await Connection.open(bus, DEADLINE);
const peer = await Connection.open(peerBus, DEADLINE);

async function countersOf(connection, of) {
  const call = {
    destination: 'org.evbd1',
    path: `/org/evbd1/link/${of}`,
    interface: 'org.freedesktop.DBus.Properties',
    member: 'Get',
    signature: 'ss',
    body: ['org.evbd1.Link', 'Counters'],
  };
  const [variant] = await connection.call(call, DEADLINE);
  return Object.fromEntries(
    Object.entries(variant.value).map(([key, value]) => [key, Number(value.value ?? value)]),
  );
}

const TAKEN = [
  'framesReceived',
  'framesOwnEchoed',
  'framesOverRate',
  'framesMalformed',
  'framesTagged',
  'framesLostByKernel',
];
const taken = (counters) => TAKEN.reduce((sum, key) => sum + counters[key], 0);

async function deliver(frames) {
  let slowest = 0;
  const ask = async () => {
    const asked = performance.now();
    const counters = await countersOf(target, link);
    slowest = Math.max(slowest, performance.now() - asked);
    return counters;
  };
  let counters = await ask();
  let unseen = 0;
  while (frames.length > 0) {
    const before = taken(counters);
    const burst = frames.splice(0, BURST);
    last.push(...burst);
    last.splice(0, last.length - KEPT);
    let sent = 0;
    while (sent < burst.length) {
      sent += socket.send(burst.slice(sent));
      if (sent < burst.length) await pause(1);
    }
    const since = performance.now();
    for (;;) {
      counters = await ask();
      if (taken(counters) - before >= burst.length) break;
      if (performance.now() - since > LOST_AFTER) {
        unseen += burst.length - (taken(counters) - before);
        break;
      }
    }
  }
  const { framesSent } = await countersOf(peer, peerLink);
  return { counters, peerSent: framesSent, slowest, unseen };
}

function framesOf(batch) {
  const frames = [];
  for (let at = 8; at < batch.length; ) {
    const length = batch.readUInt16BE(at);
    const [of, delta, place] = [batch.readUInt8(at + 2), batch.readInt8(at + 3), batch.readUInt16BE(at + 4)];
    const octets = batch.subarray(at + 6, at + 6 + length);
    if (of !== 0) octets.writeUInt16BE((live[of] + delta) & 0xffff, place);
    frames.push(octets);
    at += 6 + length;
  }
  return frames;
}

let rest = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
  while (rest.length >= 4 && rest.length >= rest.readUInt32BE(0)) {
    const batch = rest.subarray(0, rest.readUInt32BE(0));
    rest = rest.subarray(batch.length);
    const frames = framesOf(batch);
    const count = frames.length;
    let told;
    try {
      told = await deliver(frames);
    } catch (error) {
      told = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify({ ...told, count, live })}\n`);
  }
}
process.stdout.write(
  `${JSON.stringify({ last: last.map((octets) => Buffer.from(octets).toString('hex')) })}\n`,
  () => process.exit(),
);
