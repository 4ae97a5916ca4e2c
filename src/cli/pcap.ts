/** Classic libpcap capture files of Ethernet frames, read as a stream and written. */

/** A file that is no capture, or a damaged one: one line that says what and how to mend it. */
export class PcapError extends Error {
  override readonly name = 'PcapError';
}

export interface CapturedFrame {
  /** Time of day: seconds since the epoch and the nanoseconds in that second. */
  seconds: number;
  nanoseconds: number;
  octets: Uint8Array;
  /** The capture's snap length cut off the frame's end. */
  cut: boolean;
}

const MICROSECONDS = 0xa1b2c3d4;
const NANOSECONDS = 0xa1b23c4d;
const PCAPNG = 0x0a0d0d0a;
const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const ETHERNET = 1;
/** libpcap's own limit; a longer record is damage, not a frame. */
const RECORD_MAX = 262_144;

interface FileHeader {
  little: boolean;
  nanoseconds: boolean;
  /** Octets of frame check sequence at the end of every frame. */
  fcs: number;
}

/**
 * The frames of a capture file, whose octets come in pieces. Holds one record at a time. Throws PcapError where the file
 * stops making sense; the frames before that have been given.
 */
export async function* readPcap(file: AsyncIterable<Uint8Array>): AsyncGenerator<CapturedFrame> {
  const source = new Source(file);
  try {
    const header = fileHeader(await source.take(FILE_HEADER));
    for (let number = 1; ; number++) {
      const offset = source.offset;
      const record = await source.take(RECORD_HEADER);
      if (record.length === 0) return;
      if (record.length < RECORD_HEADER) throw cutShort(number, offset);
      const view = new DataView(record.buffer, record.byteOffset);
      const u32 = (at: number) => view.getUint32(at, header.little);
      const length = u32(8);
      if (length > RECORD_MAX) {
        throw new PcapError(
          `frame ${number} (at octet ${offset}) claims ${length} octets: the file is damaged from there on`,
        );
      }
      const octets = await source.take(length);
      if (octets.length < length) throw cutShort(number, offset);
      const cut = u32(12) > length;
      yield {
        seconds: u32(0),
        nanoseconds: u32(4) * (header.nanoseconds ? 1 : 1000),
        octets: cut ? octets : octets.subarray(0, Math.max(0, length - header.fcs)),
        cut,
      };
    }
  } finally {
    await source.close();
  }
}

function cutShort(number: number, offset: number): PcapError {
  return new PcapError(
    `the file ends within frame ${number} (at octet ${offset}): the capture was cut short; copy it again`,
  );
}

function fileHeader(octets: Uint8Array): FileHeader {
  const noPcap = 'no pcap file: record one with tcpdump -w FILE';
  if (octets.length < 4) throw new PcapError(octets.length === 0 ? `empty, ${noPcap}` : noPcap);
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const magic = view.getUint32(0, true);
  if (magic === PCAPNG) {
    throw new PcapError('a pcapng file: convert it with editcap -F pcap FILE NEW.pcap and decode that');
  }
  if ((magic & 0xffff) === 0x8b1f) throw new PcapError('gzip-compressed: decompress it with gunzip first');
  const little = magic === MICROSECONDS || magic === NANOSECONDS;
  const value = view.getUint32(0, little);
  if (value !== MICROSECONDS && value !== NANOSECONDS) throw new PcapError(noPcap);
  if (octets.length < FILE_HEADER) throw new PcapError('the file ends within its header: copy it again');
  // The upper bits tell of a frame check sequence: whether its length is given, and that in units of 16 bit.
  const link = view.getUint32(20, little);
  const type = link & 0x03ffffff;
  if (type !== ETHERNET) {
    throw new PcapError(
      `link type ${type}, not Ethernet (1): record on the interface itself (tcpdump -i IFACE), not on "any"`,
    );
  }
  return { little, nanoseconds: value === NANOSECONDS, fcs: link & 0x04000000 ? (link >>> 28) * 2 : 0 };
}

/** Takes counted octets out of pieces of any size. */
class Source {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array();
  /** Octets taken so far. */
  offset = 0;

  constructor(file: AsyncIterable<Uint8Array>) {
    this.#pieces = file[Symbol.asyncIterator]();
  }

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }

  /** `length` octets, fewer only at the end of the file. What is taken stays valid. */
  async take(length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let missing = length;
    while (missing > 0) {
      if (this.#piece.length === 0) {
        const { value, done } = await this.#pieces.next();
        if (done) break;
        this.#piece = value;
        continue;
      }
      const part = this.#piece.subarray(0, missing);
      this.#piece = this.#piece.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    this.offset += length - missing;
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }
}

/** Little-endian, microseconds, Ethernet: what every reader takes. */
export function pcapFileHeader(): Uint8Array {
  const octets = new Uint8Array(FILE_HEADER);
  const view = new DataView(octets.buffer);
  view.setUint32(0, MICROSECONDS, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, RECORD_MAX, true);
  view.setUint32(20, ETHERNET, true);
  return octets;
}

/** One frame; `time` in seconds since the epoch. */
export function pcapRecord(time: number, frame: Uint8Array): Uint8Array {
  const octets = new Uint8Array(RECORD_HEADER + frame.length);
  const view = new DataView(octets.buffer);
  // Rounded as a whole, so that the microseconds never become a million.
  const microseconds = Math.round(time * 1e6);
  view.setUint32(0, Math.floor(microseconds / 1e6), true);
  view.setUint32(4, microseconds % 1e6, true);
  view.setUint32(8, frame.length, true);
  view.setUint32(12, frame.length, true);
  octets.set(frame, RECORD_HEADER);
  return octets;
}
