import { configInvalid } from './queue/errors.ts'

/** What the proxy reads as a target looks like this, at least. */
const HOST_PORT = /^\S+:\d+$/

/** `127.0.0.1:PORT`, or the target that was given. @throws {TunnelError} CONFIG_INVALID */
export function targetOf(port: number | undefined, target: string | undefined): string {
  if (target !== undefined) return checkedTarget(target)
  const chosen = port ?? 80
  if (!Number.isInteger(chosen) || chosen < 1 || chosen > 65_535)
    throw configInvalid(`port = ${chosen}: a port is a number from 1 to 65535`)
  return `127.0.0.1:${chosen}`
}

/** @throws {TunnelError} CONFIG_INVALID */
export function checkedTarget(target: string): string {
  if (!HOST_PORT.test(target)) throw configInvalid(`target = ${JSON.stringify(target)}: is not host:port`)
  return target
}
