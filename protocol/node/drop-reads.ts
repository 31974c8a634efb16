import type { Socket } from 'node:net'

/**
 * All sockets together whose reads are dropped are read so often, in ms: each read is 64 KiB for the garbage collector, which
 * stops everybody.
 */
const SPACING_MS = 8

let droppingCount = 0

/**
 * From here on nobody is told what a socket reads, and it reads more and more seldom: the end of what was under way is found
 * soon, and whoever sends on and on as fast as it is taken takes nobody's time.
 */
export function dropReads(socket: Socket): void {
  // It has no close to come that would count it out.
  if (socket.destroyed) return
  let pauseMs = SPACING_MS
  let timer: NodeJS.Timeout | undefined
  const goOn = (): void => void socket.resume()
  droppingCount++
  socket.removeAllListeners('data').on('data', () => {
    socket.pause()
    // It holds a process up as long as the socket would if it was read.
    timer = setTimeout(goOn, Math.max(pauseMs, droppingCount * SPACING_MS))
    pauseMs *= 2
  })
  socket.once('close', () => {
    droppingCount--
    clearTimeout(timer)
  })
}
