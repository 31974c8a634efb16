import type { Socket } from 'node:net'

/** Between the first two reads of what is dropped, in ms; each further pause is twice as long. */
const PAUSE_MS = 2

/**
 * From here on nobody is told what a socket reads, and it reads more and more seldom: the end of what was under way is found
 * soon, and whoever sends on and on as fast as it is taken takes nobody's time.
 */
export function dropReads(socket: Socket): void {
  let pauseMs = PAUSE_MS
  let timer: NodeJS.Timeout | undefined
  const goOn = (): void => void socket.resume()
  socket.removeAllListeners('data').on('data', () => {
    socket.pause()
    // It holds a process up as long as the socket would if it was read.
    timer = setTimeout(goOn, pauseMs)
    pauseMs *= 2
  })
  socket.once('close', () => clearTimeout(timer))
}
