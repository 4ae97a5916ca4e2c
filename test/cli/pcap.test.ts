import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { type CapturedFrame, PcapError, pcapFileHeader, pcapRecord, readPcap } from '../../src/cli/pcap.ts';

/** The frames before the file stops making sense, and why it does. */
async function read(
  octets: Uint8Array,
  piece = octets.length,
): Promise<{ frames: CapturedFrame[]; error?: string }> {
  const pieces = async function* () {
    for (let at = 0; at < octets.length; at += piece) yield octets.subarray(at, at + piece);
  };
  const frames: CapturedFrame[] = [];
  try {
    for await (const frame of readPcap(pieces())) frames.push(frame);
    return { frames };
  } catch (error) {
    if (!(error instanceof PcapError)) throw error;
    return { frames, error: error.message };
  }
}

interface Form {
  little?: boolean;
  nanoseconds?: boolean;
  link?: number;
}

function pcap(
  frames: { seconds: number; fraction: number; octets: number[]; length?: number }[],
  form: Form = {},
) {
  const { little = true, nanoseconds = false, link = 1 } = form;
  const u32 = (value: number) => {
    const octets = Buffer.alloc(4);
    if (little) octets.writeUInt32LE(value);
    else octets.writeUInt32BE(value);
    return octets;
  };
  const head = [
    nanoseconds ? 0xa1b23c4d : 0xa1b2c3d4,
    little ? 0x00040002 : 0x00020004,
    0,
    0,
    65535,
    link,
  ].map(u32);
  const records = frames.flatMap(({ seconds, fraction, octets, length = octets.length }) => [
    ...[seconds, fraction, octets.length, length].map(u32),
    Buffer.from(octets),
  ]);
  return Buffer.concat([...head, ...records]);
}

const frame = { seconds: 1_760_000_000, fraction: 123_456, octets: [1, 2, 3, 4, 5] };

describe('reading', () => {
  test.each<Form>([
    { little: true, nanoseconds: false },
    { little: false, nanoseconds: false },
    { little: true, nanoseconds: true },
    { little: false, nanoseconds: true },
  ])('%j', async (form) => {
    const { frames, error } = await read(pcap([frame, { ...frame, octets: [] }], form), 7);
    expect(error).toBeUndefined();
    const nanoseconds = form.nanoseconds ? 123_456 : 123_456_000;
    expect(frames.map((each) => ({ ...each, octets: [...each.octets] }))).toEqual([
      { seconds: 1_760_000_000, nanoseconds, octets: [1, 2, 3, 4, 5], cut: false },
      { seconds: 1_760_000_000, nanoseconds, octets: [], cut: false },
    ]);
  });

  test('frames that the snap length cut', async () => {
    const { frames } = await read(pcap([{ ...frame, length: 71 }]));
    expect(frames[0]).toMatchObject({ cut: true, octets: Buffer.from([1, 2, 3, 4, 5]) });
  });

  test('a frame check sequence is no part of the frame', async () => {
    const { frames } = await read(pcap([frame], { link: 0x24000001 }));
    expect([...frames[0]!.octets]).toEqual([1]);
  });

  test('wherever the file ends: the whole frames, then why', async () => {
    const file = pcap([frame, frame]);
    for (let length = 1; length < file.length; length++) {
      const { frames, error } = await read(file.subarray(0, length));
      expect(frames).toHaveLength(length < 45 ? 0 : 1);
      if (length === 24 || length === 45) expect(error).toBeUndefined();
      else if (length < 24) expect(error).toMatch(/no pcap file|ends within its header/);
      else
        expect(error).toMatch(new RegExp(`^the file ends within frame ${length < 45 ? 1 : 2} \\(at octet `));
    }
  });

  test('lengths are not believed', async () => {
    const file = pcap([frame, frame]);
    file.writeUInt32LE(0xffffffff, 24 + 21 + 8);
    const { frames, error } = await read(file);
    expect(frames).toHaveLength(1);
    expect(error).toBe('frame 2 (at octet 45) claims 4294967295 octets: the file is damaged from there on');
  });

  test.each<[string, Uint8Array, RegExp]>([
    [
      'pcapng',
      Uint8Array.of(0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0),
      /^a pcapng file: convert it with editcap -F pcap/,
    ],
    ['cooked', pcap([], { link: 113 }), /^link type 113, not Ethernet \(1\)/],
    ['nothing', new Uint8Array(), /^empty, no pcap file/],
    ['a word', Buffer.from('pcap'), /^no pcap file/],
  ])('%s', async (_, octets, pattern) => {
    expect((await read(octets)).error).toMatch(pattern);
  });

  test('no octets make it throw anything else', async () => {
    const header = pcapFileHeader();
    const files = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.uint8Array({ maxLength: 200 }).map((rest) => Buffer.concat([header, rest])),
    );
    await fc.assert(
      fc.asyncProperty(files, fc.integer({ min: 1, max: 50 }), async (octets, piece) => {
        const [whole, pieces] = [await read(octets), await read(octets, piece)];
        expect(pieces).toEqual(whole);
      }),
      { numRuns: 300 },
    );
  });

  test('the file is let go when the reader has enough', async () => {
    let closed = false;
    const source = async function* () {
      try {
        for (;;) yield pcap([frame, frame]);
      } finally {
        closed = true;
      }
    };
    for await (const _ of readPcap(source())) break;
    expect(closed).toBe(true);
  });
});

test('what is written is read back', async () => {
  const times = [1_760_000_000.123456, 1_760_000_000 + 0.9999998, 0, 4_294_967_295.5];
  const frames = times.map((time, i) => pcapRecord(time, new Uint8Array(60 + i)));
  const { frames: back, error } = await read(Buffer.concat([pcapFileHeader(), ...frames]));
  expect(error).toBeUndefined();
  expect(back.map(({ seconds, nanoseconds, octets }) => [seconds, nanoseconds, octets.length])).toEqual([
    [1_760_000_000, 123_456_000, 60],
    [1_760_000_001, 0, 61],
    [0, 0, 62],
    [4_294_967_295, 500_000_000, 63],
  ]);
});

test('the header is the one that tcpdump writes', () => {
  const recorded = readFileSync(new URL('../fixtures/captures/vdp-nack-hard.pcap', import.meta.url));
  expect(Buffer.from(pcapFileHeader())).toEqual(recorded.subarray(0, 24));
});
