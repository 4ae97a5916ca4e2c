import {
  decodeFamily,
  decodePrivateFlags,
  ETHTOOL_GENL_NAME,
  encodeGetFamily,
  encodeGetPrivateFlags,
  GENL_ID_CTRL,
  NETLINK_GENERIC,
} from '../../protocols/rtnetlink/index.ts';
import { hasCode, KernelError } from './kernel-error.ts';
import { NetlinkRequests } from './netlink.ts';

class GenericNetlink extends NetlinkRequests {
  constructor() {
    super({}, NETLINK_GENERIC);
  }
}

/**
 * The private flags of an interface's driver, as `ethtool --show-priv-flags` has them; none where the driver has none. Rejects
 * with KernelError; ENOENT: this kernel has no netlink for it (before 5.7, or built without).
 */
export async function privateFlags(interfaceIndex: number): Promise<Map<string, boolean>> {
  const netlink = new GenericNetlink();
  const what = `read the driver's flags of interface ${interfaceIndex}`;
  try {
    const [family] = await netlink.request(
      what,
      GENL_ID_CTRL,
      0,
      encodeGetFamily(ETHTOOL_GENL_NAME),
      decodeFamily,
    );
    if (family === undefined) throw new KernelError(what, 'ENOENT', 'the kernel has no ethtool netlink');
    const payload = encodeGetPrivateFlags(interfaceIndex);
    const [flags] = await netlink.request(what, family, 0, payload, decodePrivateFlags);
    return flags ?? new Map();
  } catch (error) {
    if (hasCode(error, 'EOPNOTSUPP')) return new Map();
    throw error;
  } finally {
    netlink.close();
  }
}
