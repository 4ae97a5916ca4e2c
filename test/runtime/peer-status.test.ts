/** What a peer says of itself is shown as D-Bus can carry it. */

import { expect, test } from 'vitest';
import { ETHERTYPE_LLDP } from '../../protocols/ethernet/index.ts';
import { decodeLldpdu, encodeLldpdu } from '../../protocols/lldp-codec/index.ts';
import { encodeMessage, SIGNAL, Variant } from '../../src/dbus/wire.ts';
import { peerStatus } from '../../src/runtime/status.ts';
import { Wire } from '../pair/wire.ts';

test('names with NUL: those that end in it as they are meant, others with a replacement', () => {
  const wire = new Wire();
  wire.tampers = (from, frame) => {
    if (from !== 'bridge' || frame.etherType !== ETHERTYPE_LLDP) return frame;
    const { lldpdu } = decodeLldpdu(frame.payload);
    const named = {
      ...lldpdu,
      chassisId: { subtype: 7, id: Uint8Array.of(0x73, 0x77, 0) },
      portId: { subtype: 7, id: Uint8Array.of(0x70, 0x31) },
      systemName: 'switch\0\0',
      portDescription: 'swp\0 1',
    };
    return { ...frame, payload: encodeLldpdu(named).octets };
  };
  wire.up().pass(1_000);
  const peer = peerStatus(wire.station.port);
  expect(peer).toMatchObject({
    chassisId: '737700',
    portId: 'p1',
    systemName: 'switch',
    portDescription: 'swp\ufffd 1',
  });
  const texts = Object.values(peer).filter((value) => typeof value === 'string');
  const body = [texts.map((text) => new Variant('s', text))];
  expect(() => encodeMessage({ type: SIGNAL, flags: 0, serial: 1, signature: 'av', body })).not.toThrow();
});
