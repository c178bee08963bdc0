// Graphs of an emulated device.
#pragma once
#include <thread>
#include <vector>

#include "driver.h"

// What is captured: a branch for each stream, the first of that which the capture began on.
struct Graph {
    // Work, or the place of another branch that must have been reached.
    struct Node {
        Work work;
        size_t branch, place;
    };
    std::vector<std::vector<Node>> branches{1};
    std::thread::id capturer;
    bool invalidated = false, ended = false;

    // Each branch no sooner than another waits for it, and no further.
    void run() const {
        std::vector<size_t> done(branches.size(), 0);
        advance(0, branches[0].size(), done);
    }

    // Whether the end of the first branch waits for the ends of all others.
    bool is_joined() const {
        std::vector<size_t> reached(branches.size(), 0);
        reach(0, branches[0].size(), reached);
        for (size_t branch = 0; branch < branches.size(); branch++)
            if (reached[branch] < branches[branch].size()) return false;
        return true;
    }

private:
    void advance(size_t branch, size_t place, std::vector<size_t> &done) const {
        while (done[branch] < place) {
            const Node &node = branches[branch][done[branch]++];
            if (node.work)
                node.work();
            else
                advance(node.branch, node.place, done);
        }
    }

    void reach(size_t branch, size_t place, std::vector<size_t> &reached) const {
        while (reached[branch] < place) {
            const Node &node = branches[branch][reached[branch]++];
            if (!node.work) reach(node.branch, node.place, reached);
        }
    }
};
