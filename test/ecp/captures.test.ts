import { describe, expect, test } from 'vitest';
import { decodeEcpdu, encodeEcpdu } from '../../protocols/ecp/index.ts';
import { ETHERTYPE_ECP, encodeFrame, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import { DecodeError, toHex } from '../../protocols/octets/index.ts';
import { decodeVdp, encodeVdp, encodeVsi } from '../../protocols/vdp/index.ts';
import { type CapturedFrame, captures, readCapture } from '../fixtures/pcap.ts';

/** lldpad ends its payload behind the last VSI TLV; we always append the End TLV (interop-notes.md 10 row 1). */
const NO_END = 'no End TLV';
/** lldpad sends PCP bits although PS = 0; they are ignored and sent as 0 (vdp.md 1.2). No End TLV either. */
const PCP_WITHOUT_PS = 'PCP bits without PS';
/** N = 0 is invalid (vdp.md 1.2): the TLV is set aside and not sent again. */
const NO_ENTRIES = 'VSI TLV without filter entries';
/** The whole payload is refused (vdp.md 4.1 row 9). */
const NO_MANAGER = 'no VSI Manager ID';

/** Every frame that we would write otherwise, and why: capture, then lists of frames with their reason. */
const NOT_CANONICAL: Record<string, (number[] | string)[]> = {
  'bridge-restart-long': [[1, 3, 5, 7, 9, 11, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27], NO_END],
  'bridge-restart-same-seq': [[1, 3, 5, 7, 9], NO_END],
  'bridge-restart-short': [[2, 4, 6, 8, 10, 12, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43], NO_END],
  'ecp-retransmit-dead-peer-default': [[1, 2, 3, 4], NO_END],
  'ecp-retransmit-then-ack': [[1, 2, 3, 7], NO_END],
  'station-restart': [[2, 4, 6, 8, 10, 12, 20, 22, 24], NO_END],
  'vdp-assoc-deassoc-fmt2': [[1, 3, 5, 7], NO_END],
  'vdp-assoc-deassoc-fmt2-3filters': [[1, 3, 5, 7], NO_END],
  'vdp-assoc-deassoc-fmt3': [[1, 3, 5, 7], NO_END],
  'vdp-assoc-keepalive-fmt2': [[1, 3, 5, 7, 9, 11], NO_END],
  'vdp-assoc-oui': [[1, 3, 5, 7], NO_END],
  'vdp-assoc-vid0-fmt2': [[1, 3, 5, 7], NO_END],
  'vdp-bridge-assigns-vid': [[1, 3, 5, 7, 9, 11, 13, 15, 17, 19], NO_END],
  'vdp-bridge-unsolicited-deassoc': [[1, 2, 5, 7, 9, 11, 13, 14, 17, 19, 21], NO_END],
  'vdp-burst-10-vsis': [[1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39], NO_END],
  'vdp-deassoc-then-bridge-timeout': [[1, 3, 5, 7, 9], NO_END],
  'vdp-hints-pcp': [[1, 3, 5, 7], PCP_WITHOUT_PS, [9, 11], NO_END],
  'vdp-mgrid-uuid-reassoc': [[1, 3, 5, 7, 9, 11, 13, 15], NO_END],
  'vdp-nack-hard': [[1, 3], NO_END],
  'vdp-nack-insufficient-resources': [[1, 3], NO_END],
  'vdp-nack-keep': [[1, 3], NO_END],
  'vdp-nack-keep-after-preassoc': [[1, 3, 5, 7], NO_END],
  'vdp-preassoc-rr-assoc-deassoc-fmt1': [[1, 3, 5, 7, 9, 11, 13, 15], NO_END],
  'vdp-preassocrr-assoc-deassoc-fmt4': [[1, 3, 5, 7, 9, 11], NO_END],
  'vdp-resource-wait-timeout': [[1, 3], NO_END],
  'vdp-scripted-station-odd-requests': [
    [35],
    NO_ENTRIES,
    [61],
    NO_MANAGER,
    [
      1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 31, 33, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57,
      59,
    ],
    NO_END,
  ],
};

function reasons(name: string): Map<number, string> {
  const found = new Map<number, string>();
  const row = NOT_CANONICAL[name] ?? [];
  for (let i = 0; i < row.length; i += 2) {
    for (const number of row[i] as number[]) found.set(number, row[i + 1] as string);
  }
  return found;
}

/** What our encoder makes of the frame, and what that decodes to. Throws DecodeError as the decoders do. */
function again({ frame }: CapturedFrame) {
  const ecpdu = decodeEcpdu(frame.payload);
  if (ecpdu.operation === 'ack') {
    const payload = encodeEcpdu(ecpdu);
    return { value: ecpdu, octets: encodeFrame({ ...frame, payload }), again: decodeEcpdu(payload) };
  }
  const pdu = decodeVdp(ecpdu.ulpdu);
  const value = { ...ecpdu, ulpdu: pdu };
  const payload = encodeEcpdu({ ...ecpdu, ulpdu: encodeVdp(pdu.manager, pdu.vsis.map(encodeVsi)) });
  const decoded = decodeEcpdu(payload);
  return {
    value,
    octets: encodeFrame({ ...frame, payload }),
    again: { ...decoded, ulpdu: decodeVdp(decoded.ulpdu) },
  };
}

/** Why the frame differs from what we write; undefined when it does not. */
function difference(captured: CapturedFrame): string | undefined {
  try {
    const { value, octets } = again(captured);
    const [theirs, ours] = [toHex(captured.octets), toHex(octets)];
    if (ours === theirs) return undefined;
    if (ours === `${theirs}0000`) return NO_END;
    if ('invalid' in value.ulpdu && value.ulpdu.invalid.length > 0) return NO_ENTRIES;
    const withoutPcp = theirs.replace(/1064$/, '0064');
    return withoutPcp !== theirs && ours === `${withoutPcp}0000` ? PCP_WITHOUT_PS : 'unknown';
  } catch (error) {
    if (error instanceof DecodeError && error.reason === 'the first TLV is no VSI Manager ID')
      return NO_MANAGER;
    throw error;
  }
}

const ecpFrames = captures.map((name) => ({
  name,
  frames: readCapture(name).filter(({ frame }) => frame.etherType === ETHERTYPE_ECP),
}));

describe('ratified ECP of every capture', () => {
  test('there are as many as were recorded', () => {
    const operations = ecpFrames.flatMap(({ frames }) =>
      frames.map(({ frame }) => decodeEcpdu(frame.payload).operation),
    );
    const count = (operation: string) => operations.filter((found) => found === operation).length;
    expect([count('request'), count('ack')]).toEqual([201, 185]);
  });

  test('every listed capture is there', () => {
    expect(captures).toEqual(expect.arrayContaining(Object.keys(NOT_CANONICAL)));
  });

  test.each(ecpFrames.filter(({ frames }) => frames.length > 0))('$name', ({ name, frames }) => {
    const expected = reasons(name);
    for (const captured of frames) {
      expect(captured.frame.destination).toBe(NEAREST_CUSTOMER_BRIDGE);
      expect([captured.number, difference(captured)]).toEqual([
        captured.number,
        expected.get(captured.number),
      ]);
      expected.delete(captured.number);
    }
    expect([...expected], 'listed, but no ECP frame').toEqual([]);
  });

  test.each(ecpFrames.filter(({ frames }) => frames.length > 0))(
    '$name decodes alike after encoding',
    ({ name, frames }) => {
      for (const captured of frames) {
        const reason = reasons(name).get(captured.number);
        if (reason === NO_ENTRIES || reason === NO_MANAGER) continue;
        const { value, again: decoded } = again(captured);
        expect(decoded).toEqual(value);
      }
    },
  );
});

describe('what the captures say', () => {
  const requests = (name: string) =>
    readCapture(name).flatMap(({ frame, number, at }) => {
      if (frame.etherType !== ETHERTYPE_ECP) return [];
      const ecpdu = decodeEcpdu(frame.payload);
      return ecpdu.operation === 'request' ? [{ number, at, ecpdu, pdu: decodeVdp(ecpdu.ulpdu) }] : [];
    });

  test('ecp.md 1.3: R + 1 transmissions of the same octets', () => {
    const sent = requests('ecp-retransmit-dead-peer-default');
    expect(sent.map(({ ecpdu }) => toHex(encodeEcpdu(ecpdu)))).toEqual(
      Array(4).fill(toHex(encodeEcpdu(sent[0]!.ecpdu))),
    );
  });

  test('vdp.md 1.4, 4: answers of a bridge that refuses', () => {
    const answer = (name: string) => {
      const vsi = requests(name)[1]!.pdu.vsis[0]!;
      return [vsi.request, vsi.status.toString(16)];
    };
    expect(answer('vdp-nack-insufficient-resources')).toEqual(['deassociate', '42']);
    expect(answer('vdp-nack-hard')).toEqual(['deassociate', '52']);
    expect(answer('vdp-nack-keep')).toEqual(['associate', '63']);
    expect(answer('vdp-resource-wait-timeout')).toEqual(['deassociate', '0']);
  });

  test('vdp.md 1.2: PS, PCP 3, VID 101; PCP without PS is nothing', () => {
    const filters = requests('vdp-hints-pcp').map(({ pdu }) => pdu.vsis[0]!.filters);
    expect(filters[4]).toEqual([{ mac: '52:54:00:a1:00:18', vid: 101, pcp: 3 }]);
    expect(filters[0]).toEqual([{ mac: '52:54:00:a1:00:08', vid: 100 }]);
  });

  test('vdp.md 1.6: org-specific TLVs of a request, not echoed in the answer', () => {
    const [request, answer] = requests('vdp-assoc-oui');
    expect(request!.pdu.vsis[0]!.org?.map(({ kind }) => kind.toString(16))).toEqual(['cf1']);
    expect(answer!.pdu.vsis[0]!.org).toBeUndefined();
  });
});
