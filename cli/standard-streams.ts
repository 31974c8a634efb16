import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { devNull } from 'node:os'
import type { Readable, Writable } from 'node:stream'
import { isatty } from 'node:tty'

const STDIN = 0
const STDOUT = 1

/**
 * The kind of thing behind a descriptor decides how it is read and, for stdout, really closed: `process.stdout` never
 * is. That one and `process.stdin` must not even be looked at then, for they would take the descriptor as well.
 */
function isSocketLike(descriptor: number): boolean {
  const found = fstatSync(descriptor)
  return found.isFIFO() || found.isSocket()
}

/** Standard input, as bytes. */
export function standardInput(): Readable {
  if (isatty(STDIN)) return process.stdin
  return isSocketLike(STDIN)
    ? new Socket({ fd: STDIN, readable: true, writable: false })
    : createReadStream('', { fd: STDIN })
}

/** Standard output, as bytes. Whoever reads it is told its end as soon as it has ended here, a terminal aside. */
export function standardOutput(): Writable {
  if (isatty(STDOUT)) return process.stdout
  // autoClose is fs's own: it closes the descriptor.
  if (!isSocketLike(STDOUT)) return createWriteStream('', { fd: STDOUT })
  const output = new Socket({ fd: STDOUT, readable: false, writable: true })
  // A pipe has no shutdown(2), and libuv never closes descriptors 0 to 2: OpenSSH, whose ProxyCommand writes to a pipe,
  // would wait for the end for ever.
  output.once('close', closeStdout)
  return output
}

function closeStdout(): void {
  closeSync(STDOUT)
  // The lowest free number is given to whatever is opened next: never to a socket that somebody's console writes to.
  openSync(devNull, 'w')
}
