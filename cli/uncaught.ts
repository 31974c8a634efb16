let hear: ((error: unknown) => void) | undefined

/**
 * Says who hears of what is thrown where nothing catches it, in place of whoever heard of it before. What state that has
 * left behind nobody knows, so the process has to end.
 */
export function onUncaught(handler: (error: unknown) => void): void {
  if (hear === undefined) process.on('uncaughtException', (error) => hear?.(error))
  hear = handler
}
