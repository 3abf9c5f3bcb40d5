import CHatchery
import Glibc

/// write(2) that never raises SIGPIPE in the host program, whatever it has decided about that signal.
///
/// MSG_NOSIGNAL is for sockets only. Here the signal is blocked in the calling thread for the time of the call; where the
/// call made one pending, it is taken away again, since it would come at the moment when the mask is restored. SIGPIPE of a
/// write goes to the thread that wrote, so no other thread can see it meanwhile.
///
/// - Returns: the number of bytes taken, or a negative errno (-EPIPE where the reader is gone).
public func writeWithoutSignal(_ raw: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    var pipeSignal = sigset_t()
    var previous = sigset_t()
    var pending = sigset_t()
    sigemptyset(&pipeSignal)
    sigaddset(&pipeSignal, SIGPIPE)
    sigemptyset(&pending)
    // One that was pending before belongs to somebody else, and stays.
    sigpending(&pending)
    let wasPending = sigismember(&pending, SIGPIPE) == 1
    pthread_sigmask(SIG_BLOCK, &pipeSignal, &previous)
    let count = write(raw, bytes.baseAddress, bytes.count)
    let result = count < 0 ? -Int(hatchery_errno()) : count
    if result == -Int(EPIPE) && !wasPending {
        var atOnce = timespec()
        while sigtimedwait(&pipeSignal, nil, &atOnce) < 0 && hatchery_errno() == EINTR {}
    }
    pthread_sigmask(SIG_SETMASK, &previous, nil)
    return result
}
