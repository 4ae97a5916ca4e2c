/** Generic netlink and the private flags of network drivers (`ethtool --show-priv-flags`). */

import { describe, expect, it } from 'vitest';
import { DecodeError, fromHex, toHex } from '../../protocols/octets/index.ts';
import {
  decodeFamily,
  decodeMessages,
  decodePrivateFlags,
  encodeGetFamily,
  encodeGetPrivateFlags,
} from '../../protocols/rtnetlink/index.ts';
import { hasCode } from '../../src/kernel/kernel-error.ts';
import { privateFlags } from '../../src/kernel/private-flags.ts';

const octets = (...lines: string[]) => fromHex(lines.join('').replaceAll(/\s/g, ''))!;

/** As net/ethtool/bitset.c writes them, not compact; of a driver with three flags, the second is set. */
const FLAGS = octets(
  '88000000 1400 0000 01000000 00000000', // nlmsghdr
  '0d 01 0000', // genlmsghdr: ETHTOOL_MSG_PRIVFLAGS_GET_REPLY
  '1800 0180 0800 0100 02000000 0900 0200 6574683100 000000', // header: index 2, eth1
  '5c00 0280', // flags
  '0800 0200 03000000', // size
  '5000 0380', // bits
  '1400 0180 0800 0100 00000000 0700 0200 616200 00', // 0: "ab", not set
  '2400 0180 0800 0100 01000000 1200 0200 66772d6c6c64702d6167656e7400 0000 0400 0300', // 1: "fw-lldp-agent"
  '1400 0180 0800 0100 02000000 0600 0200 6300 0000', // 2: "c"
);

describe('the private flags of a driver', () => {
  it('are asked for by index', () => {
    expect(toHex(encodeGetFamily('ethtool'))).toBe('030100000c000200657468746f6f6c00');
    expect(toHex(encodeGetPrivateFlags(2))).toBe('0d0100000c0001800800010002000000');
  });

  it('are read with their names', () => {
    const [message] = decodeMessages(FLAGS);
    expect([...decodePrivateFlags(message!)]).toEqual([
      ['ab', false],
      ['fw-lldp-agent', true],
      ['c', false],
    ]);
  });

  it('are none where the answer has none', () => {
    const [message] = decodeMessages(octets('14000000 1400 0000 01000000 00000000 0d010000'));
    expect(decodePrivateFlags(message!).size).toBe(0);
    expect(decodeFamily(message!)).toBeUndefined();
  });

  it('are not read from a part', () => {
    for (let length = 20; length < FLAGS.length; length++) {
      const cut = FLAGS.slice(0, length);
      new DataView(cut.buffer).setUint32(0, length, true);
      try {
        for (const message of decodeMessages(cut)) decodePrivateFlags(message);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    }
  });

  it('the kernel answers: lo has none, and what is not there is told', async () => {
    expect((await privateFlags(1)).size).toBe(0);
    await expect(privateFlags(0x7ffffff0)).rejects.toSatisfy((error) => hasCode(error, 'ENODEV'));
  });
});
