import { targetInvalid } from './errors.ts'

export interface Target {
  host: string
  port: number
  /** As it is written in a URL and a Host header. */
  authority: string
}

const HOST_PORT = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([\w.-]{1,253})):(\d{1,5})$/

/** `host:port`, an IPv6 address in brackets. Throws FRAME_INVALID. */
export function parseTarget(target: string): Target {
  const match = HOST_PORT.exec(target)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || !(port >= 1 && port <= 65_535)) throw targetInvalid(target)
  return { host, port, authority: match?.[1] === undefined ? `${host}:${port}` : `[${host}]:${port}` }
}
