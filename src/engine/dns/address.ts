/** What containers with names around them have in their resolv.conf: docker's address for it. */
export const RESOLVER_ADDRESS = "127.0.0.11";
