/**
 * Calls `changed` when links may have died unseen: the network has changed, or the page was hidden, frozen or kept for
 * the back button, and is looked at again. Returns what ends the watch.
 */
export function watchNetwork(changed: () => void): () => void {
  const watch = new AbortController()
  const { signal } = watch
  const looked = (): void => {
    if (document.visibilityState === 'visible') changed()
  }
  for (const name of ['online', 'offline', 'pageshow']) addEventListener(name, changed, { signal })
  // A worker has none.
  if (!('document' in globalThis)) return () => watch.abort()
  // Of the Page Lifecycle API: a page that is thawed in the background stays hidden.
  document.addEventListener('resume', changed, { signal })
  document.addEventListener('visibilitychange', looked, { signal })
  return () => watch.abort()
}
