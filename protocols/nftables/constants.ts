/** Numbers of the kernel's interface, under the kernel's names (include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h). */

export const NETLINK_NETFILTER = 12;
/** Multicast group of changes to tables. */
export const NFNLGRP_NFTABLES = 7;

export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;
export const NFNL_BATCH_GENID = 1;

const message = (number: number) => (NFNL_SUBSYS_NFTABLES << 8) | number;
export const NFT_MSG_NEWTABLE = message(0);
export const NFT_MSG_GETTABLE = message(1);
export const NFT_MSG_DELTABLE = message(2);
export const NFT_MSG_NEWCHAIN = message(3);
export const NFT_MSG_GETCHAIN = message(4);
export const NFT_MSG_NEWRULE = message(6);
export const NFT_MSG_GETRULE = message(7);
export const NFT_MSG_NEWSET = message(9);
export const NFT_MSG_GETSET = message(10);
export const NFT_MSG_NEWSETELEM = message(12);
export const NFT_MSG_GETSETELEM = message(13);
export const NFT_MSG_NEWGEN = message(15);
export const NFT_MSG_GETGEN = message(16);
export const NFT_MSG_TRACE = message(17);

export const NLM_F_APPEND = 0x800;

export const NFPROTO_BRIDGE = 7;
export const NF_BR_FORWARD = 2;
/** Of filters in the bridge family; lower numbers see a frame earlier. */
export const NF_BR_PRI_FILTER_BRIDGED = -200;
export const NF_DROP = 0;
export const NF_ACCEPT = 1;

export const NFTA_LIST_ELEM = 1;
export const NFTA_GEN_ID = 1;

/** In messages of every kind but those of generations and traces. */
export const NFTA_TABLE_NAME = 1;
export const NFTA_TABLE_FLAGS = 2;

export const NFTA_CHAIN_TABLE = 1;
export const NFTA_CHAIN_NAME = 3;
export const NFTA_CHAIN_HOOK = 4;
export const NFTA_CHAIN_POLICY = 5;
export const NFTA_CHAIN_TYPE = 7;
export const NFTA_HOOK_HOOKNUM = 1;
export const NFTA_HOOK_PRIORITY = 2;

export const NFTA_RULE_TABLE = 1;
export const NFTA_RULE_CHAIN = 2;
export const NFTA_RULE_EXPRESSIONS = 4;

export const NFTA_SET_TABLE = 1;
export const NFTA_SET_NAME = 2;
export const NFTA_SET_FLAGS = 3;
export const NFTA_SET_KEY_TYPE = 4;
export const NFTA_SET_KEY_LEN = 5;
export const NFTA_SET_ID = 10;
export const NFTA_SET_USERDATA = 13;
export const NFTNL_UDATA_SET_KEYBYTEORDER = 0;
export const BYTEORDER_HOST_ENDIAN = 1;
/** What nft(8) calls iface_index; to the kernel it is four octets. */
export const KEY_TYPE_IFINDEX = 20;

export const NFTA_SET_ELEM_LIST_TABLE = 1;
export const NFTA_SET_ELEM_LIST_SET = 2;
export const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
export const NFTA_SET_ELEM_KEY = 1;

export const NFTA_DATA_VALUE = 1;
export const NFTA_DATA_VERDICT = 2;
export const NFTA_VERDICT_CODE = 1;

export const NFT_REG_VERDICT = 0;
export const NFT_REG_1 = 1;

export const NFTA_EXPR_NAME = 1;
export const NFTA_EXPR_DATA = 2;

export const NFTA_PAYLOAD_DREG = 1;
export const NFTA_PAYLOAD_BASE = 2;
export const NFTA_PAYLOAD_OFFSET = 3;
export const NFTA_PAYLOAD_LEN = 4;
/** Offsets count from the destination address. */
export const NFT_PAYLOAD_LL_HEADER = 0;

export const NFTA_CMP_SREG = 1;
export const NFTA_CMP_OP = 2;
export const NFTA_CMP_DATA = 3;
export const NFT_CMP_EQ = 0;

export const NFTA_META_DREG = 1;
export const NFTA_META_KEY = 2;
/** Index of the interface that a frame came in by, and of that it goes out by. */
export const NFT_META_IIF = 4;
export const NFT_META_OIF = 5;

export const NFTA_LOOKUP_SET = 1;
export const NFTA_LOOKUP_SREG = 2;
export const NFTA_LOOKUP_FLAGS = 5;

export const NFTA_IMMEDIATE_DREG = 1;
export const NFTA_IMMEDIATE_DATA = 2;
